"""Sums per hash bucket of users in, exact values and bootstrap intervals out, single and paired.

Users are hashed into buckets and the buckets are resampled (the bootstrap of Efron 1979, with a bucket as the unit):
one small pandas group per purpose, domain and segment, and no user leaves Spark. All models of a group share the
resampled buckets, so the difference of two models is paired. With far fewer users than buckets this is the plain
bootstrap over users.

M models, B buckets, S sums, R resamples, K measures.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.metrics import VALUES, Measure
from crossrec_core.frames.prepared.segments import ITEMS, segments_of

BUCKET = "bucket"
SUMS = "sums"
STANDARD_ERROR = "standard_error"
Floats = NDArray[np.float64]
Statistics = Callable[[Floats, Floats], Floats]

_GROUP = (c.PURPOSE, c.DOMAIN, c.SEGMENT)
INTERVALS = (
    f"{c.PURPOSE} string, {c.DOMAIN} string, {c.SEGMENT} string, {c.MODEL} string, {c.BASELINE} string, "
    f"{c.METRIC} string, {c.N} int, value double, baseline_value double, {c.DIFFERENCE} double, "
    f"{STANDARD_ERROR} double, {c.CI_LOW} double, {c.CI_HIGH} double, {c.NUM_USERS} bigint"
)


@dataclass(frozen=True)
class Comparison:
    """Which pairs of models are held against each other, and on which measures."""

    pairs: tuple[tuple[str, str], ...] = ()
    measures: tuple[Measure, ...] = ()


def bucket_of(user_id: Column, *, num_buckets: int, seed: int) -> Column:
    """The hash bucket of a user, 0 to ``num_buckets`` - 1."""
    return F.pmod(F.xxhash64(F.lit(seed), user_id), F.lit(num_buckets)).cast("int")


def to_bucket_sums(user_values: DataFrame, *, num_measures: int, num_buckets: int, seed: int) -> DataFrame:
    """Users' values to sums per purpose, domain, segment, model and bucket; the last sum is the number of users.

    user_values: a row per purpose, model, domain, user and kind of item, ``values`` without nulls.
    """
    sums = [F.sum(F.col(VALUES)[index]) for index in range(num_measures)]
    bucket = bucket_of(F.col(c.USER_ID), num_buckets=num_buckets, seed=seed)
    base = (
        user_values.withColumn(BUCKET, bucket)
        .groupBy(c.PURPOSE, c.DOMAIN, c.MODEL, c.SEGMENT, ITEMS, BUCKET)
        .agg(F.array(*sums, F.count(F.lit(1)).cast("double")).alias(SUMS), F.count(F.lit(1)).alias(c.NUM_USERS))
    )
    segments = segments_of(F.col(c.SEGMENT), F.col(ITEMS))
    return base.withColumn(c.SEGMENT, F.explode(segments)).drop(ITEMS)


def means(sums: Floats, whole: Floats) -> Floats:
    """Sums [..., K + 1] whose last is a count -> means [..., K]; the whole sample's sums are not needed."""
    return divide(sums[..., :-1], sums[..., -1:])


def with_intervals(
    bucket_sums: DataFrame,
    measures: Sequence[Measure],
    statistics: Statistics,
    *,
    samples: int,
    seed: int,
    comparison: Comparison = Comparison(),
) -> DataFrame:
    """Values of every model and measure with a 95 % interval; columns as INTERVALS.

    Rows of a single model have no baseline; rows of a pair have both values, their difference, its interval and
    standard error. ``statistics`` maps sums [..., S] of a resample, beside those of the whole sample [S], to measures
    [..., K]. Undefined values are null.
    """

    def to_intervals(key: tuple[str, str, str], rows: pd.DataFrame) -> pd.DataFrame:
        weights = resample(f"{'/'.join(key)}", num_buckets=rows[BUCKET].nunique(), samples=samples, seed=seed)
        found = intervals_of(rows, tuple(measures), statistics, weights, comparison)
        return found.assign(purpose=key[0], domain=key[1], segment=key[2])[_COLUMNS]

    return bucket_sums.groupBy(*_GROUP).applyInPandas(to_intervals, INTERVALS)


def resample(key: str, *, num_buckets: int, samples: int, seed: int) -> Floats:
    """How often each bucket is drawn in each resample, [R, B]; the same for the same key and seed."""
    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    return generator.multinomial(num_buckets, np.full(num_buckets, 1 / num_buckets), size=samples).astype(np.float64)


def intervals_of(
    rows: pd.DataFrame,
    measures: tuple[Measure, ...],
    statistics: Statistics,
    weights_RB: Floats,
    comparison: Comparison,
) -> pd.DataFrame:
    """Single and paired intervals of one group, whose ``rows`` have model, bucket, sums and num_users."""
    models = sorted(rows[c.MODEL].unique())
    sums_MBS = _to_array(rows, models)
    whole_MS = sums_MBS.sum(axis=1)
    values_MK = np.stack([statistics(whole_S, whole_S) for whole_S in whole_MS])
    pairs_MBS = zip(sums_MBS, whole_MS, strict=True)
    resampled_MRK = np.stack([statistics(weights_RB @ sums_BS, whole_S) for sums_BS, whole_S in pairs_MBS])
    users = rows.groupby(c.MODEL)[c.NUM_USERS].sum()
    found = []
    for at, model in enumerate(models):
        found.append(_rows_of(model, None, measures, values_MK[at], None, resampled_MRK[at], users[model]))
    kept = [at for at, measure in enumerate(measures) if measure in comparison.measures]
    for model, baseline in comparison.pairs:
        if kept and model in models and baseline in models:
            left, right = models.index(model), models.index(baseline)
            drawn = resampled_MRK[left][:, kept] - resampled_MRK[right][:, kept]
            picked = tuple(measures[at] for at in kept)
            values, others = values_MK[left][kept], values_MK[right][kept]
            found.append(_rows_of(model, baseline, picked, values, others, drawn, users[model]))
    return pd.concat(found, ignore_index=True)


def _to_array(rows: pd.DataFrame, models: list[str]) -> Floats:
    """Sums [M, B, S]; a bucket that a model lacks is zero, rows of one model and bucket add up."""
    model_at = pd.Categorical(rows[c.MODEL], categories=models).codes
    bucket_at, buckets = pd.factorize(rows[BUCKET], sort=True)
    sums = np.stack(rows[SUMS].to_list()).astype(np.float64)
    array = np.zeros((len(models), len(buckets), sums.shape[1]))
    np.add.at(array, (model_at, bucket_at), sums)
    return array


def _rows_of(
    model: str,
    baseline: str | None,
    measures: tuple[Measure, ...],
    values_K: Floats,
    others_K: Floats | None,
    drawn_RK: Floats,
    num_users: int,
) -> pd.DataFrame:
    low, high = _percentiles(drawn_RK)
    return pd.DataFrame(
        {
            c.MODEL: model,
            c.BASELINE: baseline,
            c.METRIC: [metric for metric, _ in measures],
            c.N: np.array([n for _, n in measures], dtype=np.int32),
            "value": values_K,
            "baseline_value": np.nan if others_K is None else others_K,
            c.DIFFERENCE: np.nan if others_K is None else values_K - others_K,
            STANDARD_ERROR: _spread(drawn_RK),
            c.CI_LOW: low,
            c.CI_HIGH: high,
            c.NUM_USERS: num_users,
        }
    )


def _percentiles(drawn_RK: Floats) -> tuple[Floats, Floats]:
    """2.5 % and 97.5 % of the resamples in which the measure is defined."""
    defined = ~np.isnan(drawn_RK).all(axis=0)
    low, high = np.full(defined.shape, np.nan), np.full(defined.shape, np.nan)
    if defined.any():
        low[defined], high[defined] = np.nanpercentile(drawn_RK[:, defined], [2.5, 97.5], axis=0)
    return low, high


def _spread(drawn_RK: Floats) -> Floats:
    """Standard deviation of the resamples: the bootstrap's standard error."""
    defined = ~np.isnan(drawn_RK).all(axis=0)
    spread = np.full(defined.shape, np.nan)
    if defined.any():
        spread[defined] = np.nanstd(drawn_RK[:, defined], axis=0)
    return spread


def divide(above: Floats, below: Floats) -> Floats:
    """NaN where the denominator is zero."""
    return np.divide(above, below, out=np.full(np.broadcast_shapes(above.shape, below.shape), np.nan), where=below != 0)


_COLUMNS = [part.split()[0] for part in INTERVALS.split(", ")]
