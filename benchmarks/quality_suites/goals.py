"""A suite, its rows and comparisons in, where each of its goals stands out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.quality_suites.suite import LOWER_IS_BETTER, Figure, Suite, to_measure

Row = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """What a goal asks for, what was seen (empty: nothing yet), and whether that is enough."""

    asked: str
    seen: str
    state: str


def standings(suite: Suite, rows: Sequence[Row], comparisons: Sequence[Row], *, is_open: bool) -> Iterator[Standing]:
    """One per goal: met, with what stretch, or missed; so far, while parts, cuts or seeds are missing (``is_open``)."""
    for goal in suite.goals:
        for domain, value in goal.values.items():
            bound = "<=" if to_measure(goal.metric)[0] in LOWER_IS_BETTER else ">="
            asked = f"{goal.model}, {domain}, {goal.segment}, {goal.metric} {bound} {value:g}"
            row = find_row(rows, goal, domain, suite)
            yield _reached(asked, value, goal.stretch.get(domain), row, is_open=is_open)
    for row in (row for row in comparisons if row["goal"]):
        is_sure = verdict(row) == "above" or row["goal"] < 0  # a goal below zero bounds a loss
        met = is_sure and row["gain"] is not None and row["gain"] >= row["goal"]
        gain = "no hit in the baseline" if row["gain"] is None else f"{row['gain']:+.1%}, {verdict(row)}"
        asked = f"{where(row)}: {row['model']} at least {row['goal']:+.0%} over {row['baseline']}"
        yield Standing(asked, gain, _word(met, is_open=is_open))


def verdict(row: Row) -> str:
    """above, **below** or level: where the adjusted interval of a comparison lies."""
    if row["holm_low"] > 0:
        return "above"
    return "**below**" if row["holm_high"] < 0 else "level"


def where(row: Row) -> str:
    """Where a comparison was made; its metric is named where there is no list."""
    parts = [row["suite"], row["domain"], row["segment"], *([] if row["n"] else [row["metric"]])]
    return ", ".join(parts)


def find_row(rows: Sequence[Row], goal: Figure, domain: str, suite: Suite) -> Row | None:
    """The row of a goal's model, measure and segment in the suite's own table."""
    metric, n = to_measure(goal.metric)
    wanted = {"suite": suite.name, "segment": goal.segment, "metric": metric, "n": n, "model": goal.model}
    wanted["domain"] = domain
    return next((row for row in rows if wanted.items() <= row.items()), None)


def _reached(asked: str, goal: float, stretch: float | None, row: Row | None, *, is_open: bool) -> Standing:
    if row is None:
        return Standing(asked, "", "not run")
    value, sign = row["value"], -1 if row["metric"] in LOWER_IS_BETTER else 1
    word = _word(sign * (value - goal) >= 0, is_open=is_open)
    more = f"; stretch {stretch:g}: {_word(sign * (value - stretch) >= 0, is_open=is_open)}" if stretch else ""
    return Standing(asked, f"{value:.4f} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]", word + more)


def _word(met: bool, *, is_open: bool) -> str:
    word = "met" if met else "**missed**"
    return f"{word} so far" if is_open else word
