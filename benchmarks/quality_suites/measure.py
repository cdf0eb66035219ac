"""Users' measures in; result rows, and paired differences under Holm's correction, out.

K means or hypotheses, R resamples.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality_suites.bootstrap import Floats, holm, holm_levels, p_value, percentile_interval
from benchmarks.quality_suites.cells import CELL, bootstrap_means, in_segment, to_cells
from benchmarks.quality_suites.clicks import Weighed, to_weighed, with_best_constant
from benchmarks.quality_suites.suite import LOSSES, LOWER_IS_BETTER, Suite, to_measure
from crossrec_core import columns as c

SEED = 29
Row = dict[str, Any]
Cells = dict[tuple[str, str, int], Weighed]  # by segment, metric, n
Select = Callable[[pd.DataFrame, str], pd.DataFrame]  # users' measures, a segment -> its rows


@dataclass(frozen=True)
class Pair:
    """Two models on the cells that both have, in one segment and measure: sums, over the same counts."""

    segment: str
    measure: tuple[str, int]
    model: "pd.Series[float]"
    baseline: "pd.Series[float]"  # the best of ``num_baselines``
    counts: "pd.Series[float]"
    num_baselines: int
    goal: float


@dataclass(frozen=True)
class Tested:
    """A comparison at one place, with the bootstrap distribution of its difference."""

    row: Row
    drawn_R: Floats


def measure(
    values: pd.DataFrame, suite: Suite, *, samples: int, seconds: float, select: Select = in_segment
) -> tuple[list[Row], list[Row]]:  # fmt: skip
    """Result rows and comparison rows of a suite; both have ``suite``, which ends in /TABLE for a table apart.

    ``values`` has table, cut, seed, model, domain, user_id, segment (as user_metrics stores it), metric, n and value.
    Seeds are averaged first, so that an interval is over users. The family of Holm's correction is every comparison of
    the suite, over all its tables. ``select`` finds a segment's rows.
    """
    values = with_best_constant(values)
    keys = ["table", *CELL, c.MODEL, c.SEGMENT, c.METRIC, c.N]
    averaged = values.groupby(keys, as_index=False)["value"].mean()
    num_seeds = seeds_of_models(values, by_cut=not suite.seed_per_cut)
    rows: list[Row] = []
    tested: list[Tested] = []
    for table in sorted(averaged["table"].unique()):
        own, name = averaged[averaged["table"] == table], f"{suite.name}/{table}" if table else suite.name
        for domain, members in _domains(own, suite).items():
            cells = to_all_cells(own[own[c.DOMAIN].isin(members)], suite, select)
            if cells:
                at = {"suite": name, c.DOMAIN: domain}
                found, held = _measure_domain(cells, at, suite, samples=samples)
                seeds = {model: fewest_seeds(num_seeds, table, model, members) for model in own[c.MODEL].unique()}
                rows += [row | {"seeds": seeds[row[c.MODEL]], "seconds": seconds} for row in found]
                tested += held
    return rows, adjust(tested)


def seeds_of_models(values: pd.DataFrame, *, by_cut: bool) -> dict[tuple[str, str, str], int]:
    """How many seeds a model has in a (table, domain, model): on the cut that has the fewest, or over all of them."""
    num_seeds = values.groupby(["table", c.DOMAIN, c.MODEL, *(["cut"] if by_cut else [])])["seed"].nunique()
    fewest = num_seeds.groupby(level=[0, 1, 2]).min()
    return dict(zip(fewest.index, map(int, fewest), strict=True))


def fewest_seeds(num_seeds: dict[tuple[str, str, str], int], table: str, model: str, domains: Sequence[str]) -> int:
    """The fewest over the domains that have the model; 0 where none has."""
    return min(
        (num_seeds[table, domain, model] for domain in domains if (table, domain, model) in num_seeds), default=0
    )


def to_all_cells(values: pd.DataFrame, suite: Suite, select: Select = in_segment) -> Cells:
    """The cells of every segment and measure that has any."""
    segments = {segment: select(values, segment) for segment in suite.segments}
    measures = [(metric, n) for metric, n in suite.measures if metric in LOSSES or (metric, n) in suite.stored]
    found = {(segment, *m): _to_measured(own, *m) for segment, own in segments.items() for m in measures}
    return {key: cells for key, cells in found.items() if len(cells.sums)}


def _to_measured(values: pd.DataFrame, metric: str, n: int) -> Weighed:
    if metric in LOSSES:
        return to_weighed(values, metric)
    cells = to_cells(values, metric, n)
    return Weighed(cells, cells.where(cells.isna(), 1.0))


def adjust(tested: Sequence[Tested]) -> list[Row]:
    """Rows of the comparisons with Holm's p values, and the intervals that say the same as they do."""
    if not tested:
        return []
    p_values_K = np.array([p_value(each.drawn_R) for each in tested])
    rows = []
    for each, p, p_holm, level in zip(tested, p_values_K, holm(p_values_K), holm_levels(p_values_K), strict=True):
        low, high = percentile_interval(each.drawn_R)
        holm_low, holm_high = percentile_interval(each.drawn_R, level=level)
        interval = {"ci_low": low, "ci_high": high, "holm_low": holm_low, "holm_high": holm_high}
        rows.append(each.row | interval | {"p": float(p), "p_holm": float(p_holm)})
    return rows


def _domains(values: pd.DataFrame, suite: Suite) -> dict[str, list[str]]:
    """Each domain by itself, and the suite's pools as far as their domains were measured."""
    single = {str(domain): [str(domain)] for domain in sorted(values[c.DOMAIN].unique())}
    pools = {name: [domain for domain in members if domain in single] for name, members in suite.pools.items()}
    return single | {name: members for name, members in pools.items() if members}


def _measure_domain(cells: Cells, at: Row, suite: Suite, *, samples: int) -> tuple[list[Row], list[Tested]]:
    singles = [(key, str(model), found.sums[model].dropna()) for key, found in cells.items() for model in found.sums]
    pairs = list(_pairs(cells, at[c.DOMAIN], suite))
    series = [each for _, _, each in singles] + [each for pair in pairs for each in (pair.model, pair.baseline)]
    counts = [cells[key].counts[model].dropna() for key, model, _ in singles]
    counts += [pair.counts for pair in pairs for _ in range(2)]
    means_K, drawn_RK = bootstrap_means(series, samples=samples, seed=SEED, counts=counts)
    rows = []
    for k, ((segment, metric, n), model, each) in enumerate(singles):
        low, high = percentile_interval(drawn_RK[:, k])
        rows.append(
            {**at, c.SEGMENT: segment, c.MODEL: model, c.METRIC: metric, c.N: n, "value": float(means_K[k]),
             c.CI_LOW: low, c.CI_HIGH: high, c.NUM_USERS: int(each.index.get_level_values(c.USER_ID).nunique())}
        )  # fmt: skip
    firsts = range(len(singles), len(series), 2)
    tested = [
        Tested(
            _comparison_row(at, pair, float(means_K[k]), float(means_K[k + 1])),
            sign_of(pair.measure[0]) * (drawn_RK[:, k] - drawn_RK[:, k + 1]),
        )
        for k, pair in zip(firsts, pairs, strict=True)
    ]
    return rows, tested


def _comparison_row(at: Row, pair: Pair, value: float, other: float) -> Row:
    metric, n = pair.measure
    difference = sign_of(metric) * (value - other)
    return {
        **at, c.SEGMENT: pair.segment, c.METRIC: metric, c.N: n, c.MODEL: str(pair.model.name),
        c.BASELINE: str(pair.baseline.name), "value": value, "baseline_value": other, c.DIFFERENCE: difference,
        "gain": difference / other if other else None, "num_baselines": pair.num_baselines, "goal": pair.goal,
    }  # fmt: skip


def sign_of(metric: str) -> int:
    """-1 where lower is better: a difference above zero is always the better side."""
    return -1 if metric in LOWER_IS_BETTER else 1


def _pairs(cells: Cells, domain: str, suite: Suite) -> Iterator[Pair]:
    """The suite's comparisons in a domain whose models were measured, on the cells that both have."""
    for comparison in suite.comparisons:
        segments = comparison.segments if not comparison.domains or domain in comparison.domains else []
        for segment, name in product(segments, comparison.metrics or suite.metrics[:1]):
            measure = to_measure(name)
            found = cells.get((segment, *measure))
            if found is None or comparison.model not in found.sums:
                continue
            wanted = comparison.baselines or [model for model in found.sums if model not in suite.ours]
            baselines = [model for model in wanted if model in found.sums and model != comparison.model]
            best = max(baselines, key=lambda model: sign_of(name) * _mean(found, model), default=None)
            common = found.sums[[comparison.model, best]].dropna() if best else found.sums[:0]
            if len(common):
                yield Pair(
                    segment, measure, common[comparison.model], common[best],
                    found.counts.loc[common.index, comparison.model], len(baselines), comparison.gain,
                )  # fmt: skip


def _mean(cells: Weighed, model: str) -> float:
    return float(cells.sums[model].sum() / cells.counts[model].sum())
