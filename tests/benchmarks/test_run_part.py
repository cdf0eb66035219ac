"""The order of a suite's nights, what is run again after a kill, and what comes of them; steps are recorded ones."""

import json
from contextlib import nullcontext
from math import log
from pathlib import Path
from shutil import copytree

import pyarrow.parquet as pq
import pytest

from benchmarks import quality
from benchmarks.quality_suites import nights
from benchmarks.quality_suites.finished import Places
from benchmarks.quality_suites.nights import run_part
from benchmarks.quality_suites.suite import Comparison, Suite, read_suite
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import InputError

NAMES = ("clean", "fit_baselines", "finetune", "blend", "score", "evaluate", "serve")
SUITE = """
title = "made up"
protocol = "none"
data = ["a.csv"]
cuts = ["2024-03-01", "2024-02-01"]
seeds = [1, 2]
metrics = ["ndcg@10"]
[[comparisons]]
model = "crossrec"
[settings.domains.a]
path = "{data}/a.csv"
"""


# What runs with the first seed: the shared steps, and what validation chooses by
PER_CUT = [(name, 1) for name in ("clean", "fit_baselines", "finetune", "blend", "score")]


def per_seed(*seeds):
    return [(name, seed) for seed in seeds for name in ("finetune", "blend", "score", "evaluate")]


class StoppedError(Exception):
    """A step that did not come to its end."""


@pytest.fixture
def purposes() -> list[list[str]]:
    """The purposes that each step of ``ran`` was to fit."""
    return []


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, purposes: list[list[str]]) -> list[tuple[str, str, int]]:
    """Replace the steps by ones that note (step, cut, seed), and Spark by nothing; evaluate writes what it writes."""
    noted: list[tuple[str, str, int]] = []

    def step(name):
        def run(settings, night, spark):
            noted.append((name, settings.split.cut, settings.train.seed))
            purposes.append(settings.train.purposes)
            return write_measures(settings, night) if name == "evaluate" else {}

        return run

    monkeypatch.setattr(nights, "STEPS", {name: step(name) for name in NAMES})
    monkeypatch.setattr(nights, "spark_session", lambda settings: nullcontext())
    return noted


def write_measures(settings, night) -> dict[str, int]:
    """Twenty users: crossrec's measure is a tenth of the seed above markov's; another purpose must not be read."""
    run = {"run_id": night.run_id, "domain": "a"}
    levels = {"markov": 0.1, "crossrec": 0.1 + settings.train.seed / 10}
    rows = [
        {**run, "purpose": purpose, "model": model, "user_id": f"u{user}", "segment": segment, "metric": metric,
         "n": 10, "value": level if purpose == "backtest" else 9.0}
        for purpose in ("validate", "backtest") for model, level in levels.items() for user in range(20)
        for segment in ("warm", "known_items", "head_items") for metric in ("ndcg", "hr")
    ]  # fmt: skip
    rows += [row for user in range(20) for row in click_sums(run, user, settings.train.seed)]
    measured = {**run, "domain": "all", "model": "crossrec", "segment": "all", "metric": "click_ece", "n": 0}
    ece = {**measured, "value": 0.03, "ci_low": 0.02, "ci_high": 0.05, "num_users": 20}
    write_rows(night.lake, t.METRICS, [ece], replace={"run_id": night.run_id})
    pair = {
        "model": "crossrec",
        "baseline": "markov",
        "segment": "all",
        "metric": "ndcg",
        "n": 10,
        "purpose": "validate",
    }
    numbers = dict.fromkeys(("value", "baseline_value", "difference", "ci_low", "ci_high"), 0.0)
    report = {**run, **pair, **numbers, "num_users": 20, "decision": "crossrec", "reason": "made up"}
    write_rows(night.lake, t.TRANSFER_REPORT, [report], replace={"run_id": night.run_id})
    return {"user_metrics": write_rows(night.lake, t.USER_METRICS, rows, replace={"run_id": night.run_id})}


def click_sums(run: dict[str, str], user: int, seed: int) -> list[dict]:
    """Five pairs with one click; crossrec loses a tenth of the seed per pair, the stacked baselines .4."""
    levels = {"crossrec": seed / 10, "stacked_baselines": 0.4}
    return [
        {**run, "purpose": "backtest", "model": model, "user_id": f"u{user}", "segment": "warm", "metric": metric,
         "n": 0, "value": value}
        for model, level in levels.items()
        for metric, value in (("click_pairs", 5.0), ("click_positives", 1.0), ("click_log_loss_sum", 5 * level))
    ]  # fmt: skip


def write_suite(folder: Path) -> Path:
    (folder / "made.toml").write_text(SUITE, encoding="utf-8")
    (folder / "a.csv").write_text("raw\n", encoding="utf-8")
    return folder / "made.toml"


def run(folder: Path, file: Path, **options) -> list[dict]:
    given = {"samples": 200, "set_": [], "traceback": True}
    quality.main(
        str(file), data=folder, out=folder / "out", work=folder / "work", page=folder / "page.md", **given | options
    )
    return json.loads((folder / "out/made.json").read_text(encoding="utf-8"))


def test_a_suite_of_clicks_holds_losses_over_all_cuts_and_measures_of_each(tmp_path, ran):
    file = write_suite(tmp_path)
    asked = 'metrics = ["click_log_loss", "click_ece"]\n[[comparisons]]\nbaselines = ["stacked_baselines"]'
    text = file.read_text(encoding="utf-8").replace('metrics = ["ndcg@10"]\n[[comparisons]]', asked)
    goal = 'model = "crossrec"\nmetric = "click_ece"\nsegment = "2024-03-01"\nvalues = { all = 0.02 }'
    file.write_text(f"{text}[[goals]]\n{goal}\n", encoding="utf-8")
    rows = run(tmp_path, file)
    value = {(row["model"], row["domain"], row["segment"], row["metric"]): row["value"] for row in rows}
    entropy = -(0.2 * log(0.2) + 0.8 * log(0.8))
    assert value == pytest.approx(
        {("crossrec", "a", "all", "click_log_loss"): 0.15, ("stacked_baselines", "a", "all", "click_log_loss"): 0.4,
         ("best_constant", "a", "all", "click_log_loss"): entropy, ("crossrec", "all", "2024-02-01", "click_ece"): 0.03,
         ("crossrec", "all", "2024-03-01", "click_ece"): 0.03}
    )  # fmt: skip
    (compared,) = json.loads((tmp_path / "out/made.about.json").read_text(encoding="utf-8"))["comparisons"]
    assert compared["difference"] == pytest.approx(0.25)
    page = (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
    assert "- crossrec, all, 2024-03-01, click_ece <= 0.02: 0.0300 [0.0200, 0.0500]: **missed**" in page
    assert "`click_ece`, `2024-02-01`, made:" in page
    assert any(line.startswith("| crossrec | **0.1500**") for line in page)
    assert any(
        line.startswith("| made, a, all, click_log_loss | crossrec | stacked_baselines | +0.2500") for line in page
    )
    again = run(tmp_path, file)
    assert again == rows


def test_what_validation_chooses_is_fitted_once_per_cut_and_tested_once_per_seed(tmp_path, ran, purposes):
    rows = run(tmp_path, write_suite(tmp_path))
    expected = [(name, cut, seed) for cut in ("2024-02-01", "2024-03-01") for name, seed in PER_CUT + per_seed(1, 2)]
    assert ran == expected
    both, chosen, tested = ["validate", "backtest"], ["validate"], ["backtest"]
    assert purposes == 2 * (2 * [both] + 3 * [chosen] + 2 * 4 * [tested])
    value = {row["model"]: row for row in rows}
    assert {model: row["value"] for model, row in value.items()} == pytest.approx(
        {"markov": 0.1, "crossrec": 0.25, "served": 0.25}
    )
    assert (value["crossrec"]["num_users"], value["crossrec"]["seeds"]) == (20, 2)
    about = json.loads((tmp_path / "out/made.about.json").read_text(encoding="utf-8"))
    assert about["comparisons"][0]["difference"] == pytest.approx(0.15)
    assert {row["seed"]: row["value"] for row in about["value_by_seed"] if row["model"] == "crossrec"} == {
        1: pytest.approx(0.2), 2: pytest.approx(0.3),
    }  # fmt: skip
    assert about["nights"][0]["seconds"].keys() == {"clean", "fit_baselines", "finetune", "blend", "score", "evaluate"}
    assert [night["guard"] for night in about["nights"]] == [{"a": {"all": "crossrec"}}] * 4
    assert "| crossrec | **0.2500**" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert not any((tmp_path / "work/made/lakes").iterdir())


def test_draws_run_with_a_seed_of_their_own_and_nothing_is_fitted_with_another(tmp_path, ran):
    file = write_suite(tmp_path)
    file.write_text(f"seed_per_cut = true\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    rows = run(tmp_path, file)
    names = [*(name for name, _ in PER_CUT), *(name for name, _ in per_seed(1))]
    assert ran == [(name, cut, seed) for cut, seed in (("2024-02-01", 2), ("2024-03-01", 1)) for name in names]
    assert {row["seeds"] for row in rows if row["model"] == "crossrec"} == {2}
    assert "Incomplete" not in (tmp_path / "page.md").read_text(encoding="utf-8")
    ran.clear()
    assert run(tmp_path, file) == rows
    assert ran == []


def test_a_finished_suite_is_measured_again_without_a_step(tmp_path, ran):
    file = write_suite(tmp_path)
    first = run(tmp_path, file)
    ran.clear()
    assert run(tmp_path, file) == first
    assert ran == []
    run(tmp_path, file, cuts=1, seeds=1, set_=["model.width=32"])
    assert {(cut, seed) for _, cut, seed in ran} == {("2024-02-01", 1)}
    about = json.loads((tmp_path / "out/made.about.json").read_text(encoding="utf-8"))
    assert about["command"].endswith("--suite made --set model.width=32")
    assert [(night["cut"], night["seed"]) for night in about["nights"]] == [("2024-02-01", 1)]


def test_machines_share_a_suite_by_its_seeds(tmp_path, ran):
    file = write_suite(tmp_path)
    (row, *_) = run(tmp_path, file, only_seed=2, cuts=1)
    assert row["seeds"] == 1
    assert ran == [(name, "2024-02-01", seed) for name, seed in PER_CUT + per_seed(2)]
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "Seeds 1 of 2 (2)" in page
    assert "Cuts: 1 of 2 (2024-02-01)." in page
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copytree(tmp_path / "out", elsewhere / "out")
    ran.clear()
    rows = run(elsewhere, write_suite(elsewhere))
    assert ("finetune", "2024-02-01", 2) not in ran
    assert len([name for name, *_ in ran if name == "evaluate"]) == 3
    assert {row["seeds"] for row in rows} == {2}
    about = json.loads((elsewhere / "out/made.about.json").read_text(encoding="utf-8"))
    assert len(about["nights"]) == 4
    with pytest.raises(InputError, match="--only-seed 3: expected one of 1, 2"):
        run(elsewhere, file, only_seed=3)


def test_machines_share_a_suite_by_its_parts(tmp_path, ran):
    file = write_suite(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text + '\n[[parts]]\nname = "one"\n\n[[parts]]\nname = "other"\n', encoding="utf-8")
    run(tmp_path, file, only_part="other", only_seed=1, cuts=1)
    values = tmp_path / "out/values/made"
    assert [each.stem for each in values.glob("*-1.json")] == ["other-2024-02-01-1"]
    with pytest.raises(InputError, match="--only-part none: expected one of one, other"):
        run(tmp_path, file, only_part="none")


def test_a_report_runs_nothing_and_needs_no_raw_file(tmp_path, ran, capsys):
    file = write_suite(tmp_path)
    with pytest.raises(InputError, match="no seed is finished"):
        run(tmp_path, file, report=True)
    run(tmp_path, file, seeds=1)
    first = {name: (tmp_path / name).read_bytes() for name in ("out/made.json", "out/made.about.json", "page.md")}
    for name in first:
        (tmp_path / name).unlink()
    (tmp_path / "a.csv").unlink()
    ran.clear()
    run(tmp_path, file, report=True)
    assert ran == []
    assert {name: (tmp_path / name).read_bytes() for name in first} == first
    with pytest.raises(InputError, match="--report runs nothing"):
        run(tmp_path, file, report=True, fresh=True)
    capsys.readouterr()
    with pytest.raises(InputError, match="no seed is finished with these settings"):
        run(tmp_path, file, report=True, set_=["model.width=32"])
    assert "left out: " in capsys.readouterr().out
    assert {name: (tmp_path / name).read_bytes() for name in first} == first


def test_fresh_runs_finished_seeds_again(tmp_path, ran):
    file = write_suite(tmp_path)
    rows = run(tmp_path, file, cuts=1, keep_lakes=True)
    once = list(ran)
    ran.clear()
    again = run(tmp_path, file, cuts=1, fresh=True)
    assert [row | {"seconds": 0} for row in again] == [row | {"seconds": 0} for row in rows]
    assert ran == once


def test_what_no_seed_changes_is_stored_once_per_cut(tmp_path, ran):
    run(tmp_path, write_suite(tmp_path), set_=['baselines.models=["markov"]'])
    names = sorted(path.name.split("-shared-")[0] for path in (tmp_path / "out/values/made").glob("*-shared-*"))
    assert names == ["main-2024-02-01", "main-2024-03-01"]
    known = json.loads((tmp_path / "out/values/made/main-2024-02-01-1.json").read_text(encoding="utf-8"))
    assert known["metrics"] == ["ndcg@10"]
    stored = pq.read_schema(tmp_path / "out/values/made/main-2024-02-01-1.parquet").names
    assert stored == ["crossrec ndcg@10", "served ndcg@10"]


def test_a_killed_suite_goes_on_with_the_step_it_was_at(tmp_path, ran, monkeypatch):
    file = write_suite(tmp_path)
    whole = dict(nights.STEPS)

    def stop(settings, night, spark):
        raise StoppedError

    def stop_in_second(settings, night, spark):
        return (stop if settings.train.seed == 2 else whole["score"])(settings, night, spark)

    monkeypatch.setattr(nights, "STEPS", {**whole, "score": stop_in_second})
    with pytest.raises(StoppedError):
        run(tmp_path, file, cuts=1)
    monkeypatch.setattr(nights, "STEPS", whole)
    ran.clear()
    run(tmp_path, file, cuts=1)
    assert [(name, seed) for name, _, seed in ran] == [("score", 2), ("evaluate", 2)]


def test_sampled_suites_make_no_lists(tmp_path, ran, monkeypatch):
    from tests.benchmarks.made_values import make_values

    asked = {}

    def ranks(settings, night, spark, **options):
        asked.update(options)
        return make_values(("crossrec", "a", "u", "warm", 0.5)).drop(columns=["table", "cut", "seed"])

    monkeypatch.setattr(nights, "sampled_user_metrics", ranks)
    suite = Suite(
        name="made", title="made up", protocol="none", sampled_negatives=999, metrics=["ndcg@10"], seeds=[1],
        comparisons=[Comparison(model="crossrec")], settings=read_suite(write_suite(tmp_path)).settings,
    )  # fmt: skip
    run_part(
        suite, suite.parts[0], "", seeds=[1], places=Places(tmp_path, tmp_path / "work", tmp_path / "out"),
        overrides={}, origin={}, keep_lake=True,
    )  # fmt: skip
    assert [name for name, *_ in ran] == ["clean", "fit_baselines", "finetune", "blend", "finetune", "blend"]
    assert asked == {"num_negatives": 999, "seed": nights.SAMPLE_SEED, "measures": [("ndcg", 10)]}
    assert (tmp_path / "work/made/lakes/main-whole").is_dir()


def test_a_missing_raw_file_is_named(tmp_path, ran):
    file = write_suite(tmp_path)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(InputError, match=r"a\.csv: no such file"):
        run(tmp_path, file)
    assert ran == []
