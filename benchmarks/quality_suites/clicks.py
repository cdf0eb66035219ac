"""Users' click sums and a night's metrics in, what a suite about click probabilities is measured by out.

Log loss and Brier score are means over pairs: per user a sum and a number of pairs are kept, so that users can be
resampled. Everything else (AUC, ECE, what a threshold calls a click) comes from ``metrics``, with its interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality_suites.cells import CELL
from benchmarks.quality_suites.finished import Finished
from benchmarks.quality_suites.suite import ALL, BEST_CONSTANT, LOSSES, Suite
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.evaluation.click_metrics import USER_SUMS
from crossrec_core.lake_reader import read_rows
from jobs.steps import Night

Row = dict[str, Any]
PAIRS, POSITIVES, LOG_LOSS, BRIER = USER_SUMS
DECIMALS = 5  # of a user's sum: a mean over thousands of pairs moves by less than 1e-7, the files halve
STORED = (c.MODEL, c.DOMAIN, c.METRIC, "value", c.CI_LOW, c.CI_HIGH, c.NUM_USERS)


@dataclass(frozen=True)
class Weighed:
    """A row per cell and a column per model: a sum of losses, and over how many pairs it is."""

    sums: pd.DataFrame
    counts: pd.DataFrame


def rounded(values: pd.DataFrame) -> pd.DataFrame:
    """The rows with users' sums of losses rounded."""
    is_sum = values[c.METRIC].isin([LOG_LOSS, BRIER])
    return values.assign(value=np.where(is_sum, values["value"].round(DECIMALS), values["value"]))


def with_best_constant(values: pd.DataFrame) -> pd.DataFrame:
    """Add, as a model, what always saying the base rate would lose.

    The base rate is that of the test pairs of a cut and domain themselves: no constant is better. Models share their
    pairs, so a user's are taken once, from any of them.
    """
    keys = ["table", "cut", "seed", c.DOMAIN]
    clicks = values[values[c.METRIC].isin([PAIRS, POSITIVES])]
    if clicks.empty:
        return values
    names = [name for name in clicks.columns if name not in (c.MODEL, c.METRIC, "value")]
    once = clicks.drop_duplicates([*names, c.METRIC])
    pairs = once.pivot(index=names, columns=c.METRIC, values="value").reset_index()
    totals = pairs.groupby(keys)[[PAIRS, POSITIVES]].transform("sum")
    rate = (totals[POSITIVES] / totals[PAIRS]).to_numpy()
    positives, negatives = pairs[POSITIVES], pairs[PAIRS] - pairs[POSITIVES]
    clipped = np.clip(rate, 1e-15, 1 - 1e-15)
    sums = {
        PAIRS: pairs[PAIRS],
        LOG_LOSS: -(positives * np.log(clipped) + negatives * np.log(1 - clipped)),
        BRIER: positives * (1 - rate) ** 2 + negatives * rate**2,
    }
    constant = pairs[names].assign(**{c.MODEL: BEST_CONSTANT})
    added = [constant.assign(**{c.METRIC: metric, "value": value}) for metric, value in sums.items()]
    return pd.concat([values, *added], ignore_index=True)


def to_weighed(values: pd.DataFrame, metric: str) -> Weighed:
    """One segment's rows to the sums of a loss of LOSSES and the pairs behind them; models without are left out."""
    by_metric = [values[values[c.METRIC] == name] for name in (LOSSES[metric], PAIRS)]
    sums, counts = (own.pivot(index=CELL, columns=c.MODEL, values="value") for own in by_metric)
    return Weighed(sums, counts[sums.columns])


def read_clicks(night: Night, suite: Suite) -> list[Row]:
    """A night's rows of ``metrics`` that the suite shows as they are."""
    wanted = taken_metrics(suite)
    if not wanted:
        return []
    found = read_rows(night.lake, t.METRICS, where={c.RUN_ID: night.run_id})
    rows = [row for row in found if row[c.METRIC] in wanted and row["value"] is not None]
    kept = [{name: row[name] for name in STORED} for row in rows]
    return sorted(kept, key=lambda row: (row[c.METRIC], row[c.DOMAIN], row[c.MODEL]))


def taken_metrics(suite: Suite) -> list[str]:
    """The suite's metrics that are taken from ``metrics``."""
    return [metric for metric, _ in suite.measures if metric.startswith("click_") and metric not in LOSSES]


def click_rows(finished: Sequence[Finished], suite: Suite, *, seconds: float) -> list[Row]:
    """Result rows of what came from ``metrics``: one per cut, whose name is the row's segment (``all`` without cuts).

    Value and both ends of the interval are means over seeds.
    """
    found = [
        {**row, c.MODEL: each.part.keep.get(row[c.MODEL], row[c.MODEL]), "seed": each.seed, c.SEGMENT: each.cut or ALL,
         "suite": f"{suite.name}/{each.part.table}" if each.part.table else suite.name}
        for each in finished for row in each.about.get("clicks", [])
        if row[c.METRIC] in taken_metrics(suite) and (not each.part.keep or row[c.MODEL] in each.part.keep)
    ]  # fmt: skip
    if not found:
        return []
    keys = ["suite", c.DOMAIN, c.SEGMENT, c.MODEL, c.METRIC]
    grouped = pd.DataFrame(found).groupby(keys, as_index=False)
    means = grouped[["value", c.CI_LOW, c.CI_HIGH]].mean()
    means[c.NUM_USERS], means["seeds"] = grouped[c.NUM_USERS].max()[c.NUM_USERS], grouped["seed"].nunique()["seed"]
    return [{str(k): v for k, v in row.items()} | {c.N: 0, "seconds": seconds} for row in means.to_dict("records")]
