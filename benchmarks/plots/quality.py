"""A quality suite's rows in, its plot out: every model with its interval, or curves over the size of the support."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.plots.panels import BEST_OF_OURS, OTHER, OURS, Curves, Mark, Panel, Plot
from benchmarks.quality_suites.suite import ALL, LOWER_IS_BETTER, Figure, Suite, to_measure

Row = dict[str, Any]
CLICKS = ("click_log_loss", "click_brier", "click_auc", "click_ece")  # of many click metrics, those that judge
FULL_SYSTEM = "crossrec"
_SUPPORT = re.compile(r"(?:^|/)k[_=](\d+)$")  # how tables and segments of learning curves are named


def suite_plot(suite: Suite, rows: Sequence[Row]) -> Plot:
    """The suite's first metric, or the click metrics where it has those.

    Domains that are pooled are shown as their pool: the tables have them one by one.
    """
    metric, n = suite.measures[0]
    own = [row for row in rows if (row["metric"], row["n"]) == (metric, n)]
    panels: list[Panel | Curves]
    if any(support_of(row) is not None for row in own):
        panels = list(_curves(_pooled(own, suite)))
    elif metric.startswith("click_"):
        panels = [_panel(suite, found) for name in CLICKS if (found := _clicks_of_all(rows, name))]
    else:
        panels = [_panel(suite, group) for group in _groups(_pooled(own, suite))]
    columns = 2 if isinstance(panels[0], Curves) or len(panels) in (2, 4) else 3
    return Plot(name=suite.name, caption=f"{suite.name}: {suite.title}", panels=panels, columns=columns)


def support_of(row: Row) -> int | None:
    """How many events were known, where the row is a point of a learning curve."""
    found = _SUPPORT.search(row["segment"]) or _SUPPORT.search(row["suite"])
    return int(found.group(1)) if found else None


def _clicks_of_all(rows: Sequence[Row], metric: str) -> list[Row]:
    found = [row for row in rows if (row["metric"], row["domain"]) == (metric, ALL)]
    segments = list(dict.fromkeys(row["segment"] for row in found))
    return [row for row in found if row["segment"] == (ALL if ALL in segments else segments[0])] if found else []


def _pooled(rows: Sequence[Row], suite: Suite) -> list[Row]:
    found = [row for row in rows if row["domain"] in suite.pools]
    return found or list(rows)


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of one panel: of one table, segment and domain, in the order they come."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["suite"], row["segment"], row["domain"]), []).append(row)
    return list(groups.values())


def _panel(suite: Suite, rows: Sequence[Row]) -> Panel:
    first = rows[0]
    sign = 1 if first["metric"] in LOWER_IS_BETTER else -1
    ranked = sorted(rows, key=lambda row: (sign * row["value"], row["model"]))
    better = ", lower is better" if sign > 0 else ""
    return Panel(
        title=_title(suite, first),
        axis=_measure_name(first) + better,
        marks=[
            Mark(row["model"], row["value"], row["ci_low"], row["ci_high"], _kind(row["model"], suite))
            for row in ranked
        ],
        guides={
            **_figure_of(suite.goals, "goal", suite, first),
            **_figure_of(suite.published, "best published", suite, first),
        },
    )


def _title(suite: Suite, row: Row) -> str:
    table = row["suite"].removeprefix(suite.name).lstrip("/")
    parts = [table, row["domain"], row["segment"] if row["segment"] != ALL else ""]
    return f"{', '.join(part for part in parts if part)}\n{row['num_users']:,} users"


def _kind(model: str, suite: Suite) -> str:
    return BEST_OF_OURS if model == FULL_SYSTEM else OURS if model in suite.ours else OTHER


def _measure_name(row: Row) -> str:
    return f"{row['metric']}@{row['n']}" if row["n"] else str(row["metric"])


def _figure_of(figures: Sequence[Figure], name: str, suite: Suite, row: Row) -> dict[str, float]:
    """The best of the figures that belong to a panel, which are of the suite's own table."""
    if row["suite"] != suite.name:
        return {}
    values = [
        figure.values[row["domain"]] for figure in figures
        if (figure.segment, *to_measure(figure.metric)) == (row["segment"], row["metric"], row["n"])
        and row["domain"] in figure.values
    ]  # fmt: skip
    best = min if row["metric"] in LOWER_IS_BETTER else max
    return {name: best(values)} if values else {}


def _curves(rows: Sequence[Row]) -> Iterable[Curves]:
    """A panel per domain and segment, or per table where segments are the support; rows without one are left out."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        support = support_of(row)
        if support is None:
            continue
        by_table = _SUPPORT.search(row["suite"]) is not None
        where = f"{row['domain']}, {row['segment']}" if by_table else f"{row['suite']}, {row['domain']}"
        panels.setdefault(where, {}).setdefault(row["model"], []).append((float(support), row["value"]))
    for where, lines in panels.items():
        ordered = {name: sorted(points) for name, points in lines.items()}
        yield Curves(title=where, x_axis="events known (k)", y_axis=_measure_name(rows[0]), lines=ordered)
