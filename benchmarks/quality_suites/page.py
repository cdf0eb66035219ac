"""Result files in, the made part of docs/results.md out: plots and tables, losses shown as openly as gains."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots.draw import draw_if_changed
from benchmarks.plots.quality import suite_plot
from benchmarks.quality_suites.coverage import coverage_notes, is_complete, num_finished, num_nights
from benchmarks.quality_suites.goals import Standing, standings, verdict, where
from benchmarks.quality_suites.suite import LOWER_IS_BETTER, Suite, read_suite, to_measure

MARK = "<!-- Below this line: made by benchmarks/quality.py from benchmarks/results; edits are lost. -->"
ABOUT = ".about.json"
PLOTS = "plots"  # the folder beside the page
ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


def update_page(page: Path, results: Path) -> None:
    """Replace what follows the mark in ``page`` by the tables of every suite in ``results``, and draw its plots."""
    text = page.read_text(encoding="utf-8") if page.exists() else "# Results\n"
    kept = text.split(MARK)[0].rstrip("\n")
    page.write_text(f"{kept}\n\n{MARK}\n{made_part(results)}", encoding="utf-8")
    for suite, rows, _ in read_results(results):
        draw_if_changed(suite_plot(suite, rows), page.parent / PLOTS)


def read_results(results: Path) -> Iterator[tuple[Suite, list[Row], Row]]:
    """Each suite with results in the folder, its rows, and what is told about them."""
    for file in sorted(results.glob(f"*{ABOUT}")):
        about = json.loads(file.read_text(encoding="utf-8"))
        rows = json.loads((results / f"{about['suite']}.json").read_text(encoding="utf-8"))
        yield read_suite(ROOT / about["file"]), rows, about


def made_part(results: Path) -> str:
    """The page's text after the mark: all goals in one table, then every suite; empty without results."""
    lines, summary = [], []
    for suite, rows, about in read_results(results):
        goals = goals_of(suite, rows, about)
        summary += summary_lines(suite, goals, about)
        lines += ["", *suite_lines(suite, rows, goals, about)]
    if summary:
        head = _head(["suite", "finished", "goal", "seen", ""])
        lines = ["", "## Where every goal stands", "", *head, *summary, *lines]
    return "".join(f"{line}\n" for line in lines)


def goals_of(suite: Suite, rows: Sequence[Row], about: Row) -> list[Standing]:
    """Where the suite's goals stand."""
    is_open = "nights" in about and not is_complete(suite, about["nights"])
    return list(standings(suite, rows, about["comparisons"], is_open=is_open))


def summary_lines(suite: Suite, goals: Sequence[Standing], about: Row) -> list[str]:
    """The suite's lines of the table of all goals; the first says how much of the suite is finished."""
    nights = about.get("nights")
    finished = f"{num_finished(suite, nights)} of {num_nights(suite)}" if nights else "whole"
    cells = [[goal.asked, goal.seen, goal.state] for goal in goals] or [["none", "", ""]]
    names = [[suite.name, finished], *[["", ""]] * (len(cells) - 1)]
    return [_line([*name, *own]) for name, own in zip(names, cells, strict=True)]


def suite_lines(suite: Suite, rows: Sequence[Row], goals: Sequence[Standing], about: Row) -> list[str]:
    """The lines of one suite."""
    lines = [f"## {suite.name}: {suite.title}", "", suite.protocol, ""]
    lines += [f"- {note}" for note in [*suite.notes, *(about.get("run_notes") or _run_notes(suite, about))]]
    plot = suite_plot(suite, rows)
    lines += ["", f"![{plot.caption}]({PLOTS}/{plot.name}.svg)"]
    to_tables = across_segments if about.get("across_segments") else by_segment
    for heading, own in to_tables(suite, rows):
        lines += ["", heading, "", *value_table(own, suite)]
    if about["comparisons"]:
        losses = any(row["metric"] in LOWER_IS_BETTER for row in about["comparisons"])
        less = " (of a loss: the baseline's minus the model's, so above is better)" if losses else ""
        lines += ["", f"Paired differences{less}, intervals and p adjusted by Holm over all of this table:", ""]
        lines += comparison_table(about["comparisons"])
    told = [f"- {goal.asked}: {goal.seen + ': ' if goal.seen else ''}{goal.state}" for goal in goals]
    return lines + (["", "Goals:", "", *told] if told else [])


def by_segment(suite: Suite, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """A heading and the rows of each table: one per table of the suite, segment and measure."""
    for table in dict.fromkeys(row["suite"] for row in rows):
        for segment in dict.fromkeys(row["segment"] for row in rows):
            for metric, n in suite.measures:
                own = [row for row in rows if _key(row) == (table, segment, metric, n)]
                if own:
                    yield f"{_at(metric, n)}, `{segment}`, {table}:", own


def across_segments(suite: Suite, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The same for a suite of one domain, with its segments side by side instead of domains."""
    for table in dict.fromkeys(row["suite"] for row in rows):
        for metric, n in suite.measures:
            own = [row for row in rows if (row["suite"], row["metric"], row["n"]) == (table, metric, n)]
            if own:
                yield f"{_at(metric, n)}, {table}:", [{**row, "domain": row["segment"]} for row in own]


def _at(metric: str, n: int) -> str:
    return f"`{metric}` at {n}" if n else f"`{metric}`"


def value_table(rows: Sequence[Row], suite: Suite) -> list[str]:
    """Models by domains: value and interval, the best of a domain in bold; published figures below,
    in the suite's own table and not in one apart."""
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    cells = {(row["model"], row["domain"]): row for row in rows}
    is_lower_better = rows[0]["metric"] in LOWER_IS_BETTER
    pick = min if is_lower_better else max
    best = {d: pick(row["value"] for row in rows if row["domain"] == d) for d in domains}
    mean = {m: _mean([r["value"] for r in rows if r["model"] == m]) for m in dict.fromkeys(r["model"] for r in rows)}
    users = {row["domain"]: max(r["num_users"] for r in rows if r["domain"] == row["domain"]) for row in rows}
    lines = _head(["model", *(f"{domain} ({users[domain]:,})" for domain in domains)])
    for model in sorted(mean, key=lambda name: (mean[name] if is_lower_better else -mean[name], name)):
        lines.append(_line([model, *(_cell(cells.get((model, domain)), best[domain]) for domain in domains)]))
    for figure in suite.published:
        if (suite.name, figure.segment, *to_measure(figure.metric)) == _key(rows[0]):
            values = [f"*{figure.values[domain]:.4f}*" if domain in figure.values else "" for domain in domains]
            lines.append(_line([f"*{figure.model}* ({figure.source})", *values]))
    return lines


def comparison_table(comparisons: Sequence[Row]) -> list[str]:
    """One line per comparison: above or below where the adjusted interval leaves zero out, else level."""
    lines = _head(["where", "model", "against", "difference", "relative", "p", "verdict"])
    for row in comparisons:
        against = f"{row['baseline']} (best of {row['num_baselines']})" if row["num_baselines"] > 1 else row["baseline"]
        relative = "" if row["gain"] is None else f"{row['gain']:+.1%}"
        interval = f"{row['difference']:+.4f} [{row['holm_low']:+.4f}, {row['holm_high']:+.4f}]"
        cells = [where(row), row["model"], against, interval, relative, f"{row['p_holm']:.4f}", verdict(row)]
        lines.append(_line(cells))
    return lines


def _run_notes(suite: Suite, about: Row) -> Iterator[str]:
    yield from coverage_notes(suite, about["nights"])
    machines = [f"{each['cpu']}, {each['cores']} cores, {each['memory_gib']} GiB" for each in about["machines"]]
    days = " to ".join(dict.fromkeys((about["days"][0], about["days"][-1])))
    yield (
        f"{about['seconds_per_seed'] / 60:.0f} minutes per seed, all cuts and parts that are there, tuning of floors "
        f"included; {'; '.join(machines)}; {days}; revision {', '.join(filter(None, about['revisions'])) or 'unknown'}."
    )
    yield f"`{about['command']}`; files' sha256, settings and versions: benchmarks/results/{about['suite']}{ABOUT}."


def _key(row: Row) -> tuple[str, str, str, int]:
    return row["suite"], row["segment"], row["metric"], row["n"]


def _cell(row: Row | None, best: float) -> str:
    if row is None:
        return ""
    value = f"{row['value']:.4f}"
    value = f"**{value}**" if row["value"] == best else value
    return f"{value} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
