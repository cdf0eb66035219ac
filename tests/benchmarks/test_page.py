"""The page shows every value, the published ones beside, and losses as openly as gains."""

import json
from pathlib import Path

from benchmarks.quality_suites.page import MARK, made_part, update_page

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
title = "made up"
protocol = "none"
metrics = ["ndcg@10"]
notes = ["a note"]
[[published]]
model = "Paper"
metric = "ndcg@10"
values = { a = 0.25 }
source = "its repository"
[[goals]]
model = "crossrec"
metric = "ndcg@10"
values = { a = 0.2, b = 0.5 }
stretch = { a = 0.4 }
"""
MACHINE = {"cpu": "a cpu", "cores": 2, "memory_gib": 8.0}


def row(model: str, domain: str, value: float) -> dict[str, object]:
    return {
        "suite": "made", "domain": domain, "segment": "all", "model": model, "metric": "ndcg", "n": 10, "value": value,
        "ci_low": value - 0.01, "ci_high": value + 0.01, "num_users": 1200, "seeds": 3, "seconds": 60.0,
    }  # fmt: skip


def comparison(domain: str, low: float, high: float, *, goal: float = 0.0) -> dict[str, object]:
    return {
        "suite": "made", "domain": domain, "segment": "all", "metric": "ndcg", "n": 10, "model": "crossrec",
        "baseline": "markov", "value": 0.3, "baseline_value": 0.2, "difference": (low + high) / 2, "gain": 0.5,
        "num_baselines": 2, "goal": goal, "ci_low": low, "ci_high": high, "holm_low": low, "holm_high": high,
        "p": 0.01, "p_holm": 0.02,
    }  # fmt: skip


def write_results(folder: Path, *, seeds: tuple[int, ...] = (11, 12, 13)) -> None:
    (folder / "made.toml").write_text(SUITE, encoding="utf-8")
    rows = [row("crossrec", "a", 0.3), row("markov", "a", 0.2), row("crossrec", "b", 0.1), row("markov", "b", 0.4)]
    about = {
        "suite": "made", "file": str(folder / "made.toml"), "seconds_per_seed": 120, "command": "python it",
        "machines": [MACHINE, MACHINE | {"cores": 8}], "days": ["2026-01-30", "2026-01-31", "2026-02-02"],
        "revisions": ["1a2b3c4", "5d6e7f8+"], "nights": [{"part": "main", "cut": "", "seed": seed} for seed in seeds],
        "comparisons": [comparison("a", 0.05, 0.15, goal=0.2), comparison("b", -0.4, -0.2), comparison("c", -0.1, 0.1),
                        comparison("d", -0.1, 0.1, goal=-0.01)],
    }  # fmt: skip
    (folder / "made.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "made.about.json").write_text(json.dumps(about), encoding="utf-8")


def test_the_page_holds_values_published_figures_verdicts_and_goals(tmp_path):
    write_results(tmp_path)
    lines = made_part(tmp_path).splitlines()
    assert "| model | a (1,200) | b (1,200) |" in lines
    assert "| markov | 0.2000 [0.1900, 0.2100] | **0.4000** [0.3900, 0.4100] |" in lines
    assert "| crossrec | **0.3000** [0.2900, 0.3100] | 0.1000 [0.0900, 0.1100] |" in lines
    assert "| *Paper* (its repository) | *0.2500* |  |" in lines
    verdicts = [line.split(" | ")[-1] for line in lines if line.startswith("| made, ")]
    assert verdicts == ["above |", "**below** |", "level |", "level |"]
    assert "- crossrec, a, all, ndcg@10 >= 0.2: 0.3000 [0.2900, 0.3100]: met; stretch 0.4: **missed**" in lines
    assert "- crossrec, b, all, ndcg@10 >= 0.5: 0.1000 [0.0900, 0.1100]: **missed**" in lines
    assert "- made, a, all: crossrec at least +20% over markov: +50.0%, above: met" in lines
    assert "- made, d, all: crossrec at least -1% over markov: +50.0%, level: met" in lines, "it bounds a loss"
    assert "- a note" in lines
    assert "- Seeds 11, 12, 13; a user's measure is the mean over them, intervals are over users." in lines
    (made_on,) = [line for line in lines if "minutes per seed" in line]
    assert made_on.endswith(
        "a cpu, 2 cores, 8.0 GiB; a cpu, 8 cores, 8.0 GiB; 2026-01-30 to 2026-02-02; revision 1a2b3c4, 5d6e7f8+."
    )


def test_goals_of_an_unfinished_suite_stand_so_far(tmp_path):
    write_results(tmp_path, seeds=(11, 12))
    lines = made_part(tmp_path).splitlines()
    goals = lines[lines.index("Goals:") :]
    seen = "0.3000 [0.2900, 0.3100]"
    assert f"- crossrec, a, all, ndcg@10 >= 0.2: {seen}: met so far; stretch 0.4: **missed** so far" in goals
    assert "- crossrec, b, all, ndcg@10 >= 0.5: 0.1000 [0.0900, 0.1100]: **missed** so far" in goals
    assert "- made, a, all: crossrec at least +20% over markov: +50.0%, above: met so far" in goals
    assert all(line.endswith(" so far") for line in goals if line.startswith("- "))
    assert "- **Incomplete**: 2 of 3 (part, cut, seed) are finished; goals are met or missed so far." in lines


def test_one_table_says_where_the_goals_of_all_suites_stand(tmp_path):
    write_results(tmp_path, seeds=(11, 12))
    about = json.loads((tmp_path / "made.about.json").read_text(encoding="utf-8"))
    (tmp_path / "zone.toml").write_text(SUITE.split("[[goals]]")[0], encoding="utf-8")
    about |= {"suite": "zone", "file": str(tmp_path / "zone.toml"), "comparisons": []}
    del about["nights"]
    about["run_notes"] = ["twenty splits"]
    (tmp_path / "zone.json").write_text(json.dumps([row("crossrec", "a", 0.3)]), encoding="utf-8")
    (tmp_path / "zone.about.json").write_text(json.dumps(about), encoding="utf-8")
    lines = made_part(tmp_path).splitlines()
    assert lines[:5] == [
        "",
        "## Where every goal stands",
        "",
        "| suite | finished | goal | seen |  |",
        "|---|---|---|---|---|",
    ]
    assert lines[5:10] == [
        "| made | 2 of 3 | crossrec, a, all, ndcg@10 >= 0.2 | 0.3000 [0.2900, 0.3100] "
        "| met so far; stretch 0.4: **missed** so far |",
        "|  |  | crossrec, b, all, ndcg@10 >= 0.5 | 0.1000 [0.0900, 0.1100] | **missed** so far |",
        "|  |  | made, a, all: crossrec at least +20% over markov | +50.0%, above | met so far |",
        "|  |  | made, d, all: crossrec at least -1% over markov | +50.0%, level | met so far |",
        "| zone | whole | none |  |  |",
    ]


def test_what_stands_before_the_mark_is_kept_and_the_rest_made_again(tmp_path):
    write_results(tmp_path)
    page = tmp_path / "results.md"
    page.write_text(f"# Results\n\nBy hand.\n\n{MARK}\nold\n", encoding="utf-8")
    update_page(page, tmp_path)
    first = page.read_text(encoding="utf-8")
    assert first == f"# Results\n\nBy hand.\n\n{MARK}\n{made_part(tmp_path)}"
    update_page(page, tmp_path)
    assert page.read_text(encoding="utf-8") == first


def test_a_suite_may_show_its_segments_side_by_side_and_say_of_its_run_what_it_wants(tmp_path):
    write_results(tmp_path)
    rows = [row("crossrec", "a", 0.3) | {"segment": segment, "num_users": 7} for segment in ("all", "k=0", "k=1")]
    about = json.loads((tmp_path / "made.about.json").read_text(encoding="utf-8"))
    about |= {"across_segments": True, "run_notes": ["twenty splits"]}
    (tmp_path / "made.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "made.about.json").write_text(json.dumps(about), encoding="utf-8")
    lines = made_part(tmp_path).splitlines()
    assert "| model | all (7) | k=0 (7) | k=1 (7) |" in lines
    assert "| *Paper* (its repository) |  |  |  |" in lines
    assert "- twenty splits" in lines
    assert not any(line.startswith("- Seeds ") for line in lines)


def test_the_committed_page_is_up_to_date():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page.split(f"{MARK}\n")[1] == made_part(ROOT / "benchmarks" / "results")
