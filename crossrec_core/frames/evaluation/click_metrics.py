"""Probabilities of labelled pairs in, sums per user bucket out; and the click metrics as functions of those sums.

Exact: ties share their place, and nothing is binned but what is defined by bins (ECE). Definitions: docs/metrics.md.
"""

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.intervals import BUCKET, SUMS, Floats, bucket_of, divide

CLICK_METRICS = (
    "click_auc", "click_log_loss", "click_brier", "click_accuracy", "click_precision", "click_recall", "click_f1",
    "click_ece", "click_base_rate", "click_best_constant_log_loss", "click_best_constant_brier",
    "click_best_constant_accuracy",
)  # fmt: skip
CLICK_MEASURES = tuple((metric, 0) for metric in CLICK_METRICS)
# Per user: what a mean over pairs is made of, so that users can be resampled
USER_SUMS = ("click_pairs", "click_positives", "click_log_loss_sum", "click_brier_sum")
NUM_BINS = 15
DEFAULT_THRESHOLD = 0.5
THRESHOLD = "threshold"

_SMALLEST = 1e-15
_SLICES = 1000
_MODEL = (c.PURPOSE, c.MODEL, c.DOMAIN)
_PLAIN_SUMS = (
    "pairs", "positives", "log_loss", "brier", "true_positives", "predicted", "placed_positives", "placed_negatives",
)  # fmt: skip


def with_all_domains(pair_probabilities: DataFrame) -> DataFrame:
    """The pairs of each domain, and once more those of all domains together under the name ``all``."""
    return pair_probabilities.withColumn(c.DOMAIN, F.explode(F.array(c.DOMAIN, F.lit(c.ALL))))


def to_user_clicks(pair_probabilities: DataFrame, truth: DataFrame) -> DataFrame:
    """Rows of user_metrics: USER_SUMS of each user's pairs, n = 0, under the user's own segment."""
    segments = truth.select(c.PURPOSE, c.DOMAIN, c.USER_ID, c.SEGMENT).distinct()
    label, one = F.col(c.LABEL), F.lit(1.0)
    terms = _loss_terms(F.lit(0.0), pairs=one, positives=label)
    sums = [F.sum(terms[name]).cast("double") for name in ("pairs", "positives", "log_loss", "brier")]
    rows = [
        F.struct(F.lit(metric).alias(c.METRIC), F.lit(0).alias(c.N), total.alias("value"))
        for metric, total in zip(USER_SUMS, sums, strict=True)
    ]
    keys = (c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT)
    return (
        pair_probabilities.join(segments, [c.PURPOSE, c.DOMAIN, c.USER_ID], how="inner")
        .groupBy(*keys)
        .agg(F.array(*rows).alias("rows"))
        .select(*keys, F.inline("rows"))
    )


def to_reliability(atoms: DataFrame) -> DataFrame:
    """Per model, domain and bin: what was foreseen and what came; the columns of ``reliability`` without run_id."""
    pairs, positives = F.sum("pairs"), F.sum("positives")
    return (
        atoms.withColumn("bin", _bin().cast("int"))
        .groupBy(c.MODEL, c.DOMAIN, "bin")
        .agg(
            F.min(c.PROBABILITY).alias("lowest"),
            F.max(c.PROBABILITY).alias("highest"),
            (F.sum(F.col(c.PROBABILITY) * F.col("pairs")) / pairs).alias("mean_probability"),
            (positives / pairs).alias("click_rate"),
            positives.alias("positives"),
            pairs.alias("pairs"),
        )
    )


def to_atoms(pair_probabilities: DataFrame, *, num_buckets: int, seed: int) -> DataFrame:
    """Pairs to counts per model, domain, probability and user bucket, with the counts below and at the probability.

    probability  label          probability  bucket  pairs  positives  pairs_below  positives_below  pairs_tied  ...
    0.2          0       ->     0.2          7       2      1          0            0                2
    0.2          1              0.9          3       1      1          2            1                1
    0.9          1
    """
    atoms = (
        pair_probabilities.withColumn(BUCKET, bucket_of(F.col(c.USER_ID), num_buckets=num_buckets, seed=seed))
        .groupBy(*_MODEL, BUCKET, c.PROBABILITY)
        .agg(F.count(F.lit(1)).alias("pairs"), F.sum(c.LABEL).alias("positives"))
        .withColumn("slice", F.floor(F.col(c.PROBABILITY) * _SLICES))
    )
    below = _with_counts_below_slice(atoms)
    in_slice = W.partitionBy(*_MODEL, "slice").orderBy(c.PROBABILITY)
    upto = in_slice.rangeBetween(W.unboundedPreceding, W.currentRow)
    tied = in_slice.rangeBetween(W.currentRow, W.currentRow)
    counted = atoms.join(F.broadcast(below), [*_MODEL, "slice"], how="inner")
    for count in ("pairs", "positives"):
        counted = counted.withColumn(f"{count}_tied", F.sum(count).over(tied)).withColumn(
            f"{count}_below", F.col(f"{count}_below_slice") + F.sum(count).over(upto) - F.col(f"{count}_tied")
        )
    return counted


def to_thresholds(validation_atoms: DataFrame) -> DataFrame:
    """Per model and domain the threshold with the best F1 on validation pairs; the higher one where two tie."""
    at_or_above = F.col("all_pairs") - F.col("pairs_below")
    found = F.col("all_positives") - F.col("positives_below")
    f1 = 2 * found / (at_or_above + F.col("all_positives"))
    best = F.max(F.struct(f1.alias("f1"), F.col(c.PROBABILITY)))
    return (
        validation_atoms.groupBy(c.MODEL, c.DOMAIN)
        .agg(best.alias("best"))
        .select(c.MODEL, c.DOMAIN, F.col(f"best.{c.PROBABILITY}").alias(THRESHOLD))
    )


def to_click_sums(atoms: DataFrame, thresholds: DataFrame) -> DataFrame:
    """What every click metric is a function of, summed per purpose, domain, model and user bucket.

    Models without validation pairs are cut at 0.5. Pairs above the threshold or at it are predicted clicks.
    """
    cut = F.coalesce(F.col(THRESHOLD), F.lit(DEFAULT_THRESHOLD))
    predicted = F.when(F.col(c.PROBABILITY) >= cut, 1.0).otherwise(0.0)
    terms = {**_loss_terms(predicted, pairs=F.col("pairs"), positives=F.col("positives")), **_placements()}
    plain = [F.coalesce(F.sum(terms[name]).cast("double"), F.lit(0.0)) for name in _PLAIN_SUMS]
    return (
        atoms.join(F.broadcast(thresholds), [c.MODEL, c.DOMAIN], how="left")
        .withColumn("bin", _bin())
        .groupBy(c.PURPOSE, c.DOMAIN, c.MODEL, BUCKET)
        .agg(F.array(*plain, *_bin_gaps()).alias(SUMS))
        .withColumn(c.SEGMENT, F.lit(c.ALL))
    )


def count_pair_users(pair_probabilities: DataFrame, *, num_buckets: int, seed: int) -> DataFrame:
    """Users with pairs per purpose, domain, model and bucket (num_users)."""
    bucket = bucket_of(F.col(c.USER_ID), num_buckets=num_buckets, seed=seed)
    return (
        pair_probabilities.withColumn(BUCKET, bucket)
        .groupBy(c.PURPOSE, c.DOMAIN, c.MODEL, BUCKET)
        .agg(F.count_distinct(c.USER_ID).alias(c.NUM_USERS))
    )


def click_statistics(sums: Floats, whole: Floats) -> Floats:
    """Sums [..., S] of ``to_click_sums`` -> CLICK_METRICS [..., K]; NaN where undefined.

    A resample keeps the placements of the whole sample, whose AUC it centres on: exact for the whole sample itself,
    and to first order for a resample (DeLong et al. 1988).
    """
    plain = _by_name(sums)
    pairs, positives = plain["pairs"], plain["positives"]
    hits, predicted = plain["true_positives"], plain["predicted"]
    right = hits + (pairs - positives) - (predicted - hits)
    base_rate = divide(positives, pairs)
    placed = divide(plain["placed_positives"], positives) + divide(plain["placed_negatives"], pairs - positives)
    whole_auc = divide(_by_name(whole)["placed_positives"], _by_name(whole)["positives"])
    metrics = (
        placed - whole_auc,
        divide(plain["log_loss"], pairs),
        divide(plain["brier"], pairs),
        divide(right, pairs),
        divide(hits, predicted),
        divide(hits, positives),
        divide(2 * hits, predicted + positives),
        divide(np.abs(sums[..., len(_PLAIN_SUMS) :]).sum(axis=-1), pairs),
        base_rate,
        entropy(base_rate),
        base_rate * (1 - base_rate),
        np.maximum(base_rate, 1 - base_rate),
    )
    return np.stack(metrics, axis=-1)


def entropy(rate: Floats) -> Floats:
    """Log loss, in nats, of always saying ``rate`` where it is true."""
    clipped = np.clip(rate, _SMALLEST, 1 - _SMALLEST)
    return -(rate * np.log(clipped) + (1 - rate) * np.log(1 - clipped))


def _by_name(sums: Floats) -> dict[str, Floats]:
    return dict(zip(_PLAIN_SUMS, np.moveaxis(sums[..., : len(_PLAIN_SUMS)], -1, 0), strict=True))


def _with_counts_below_slice(atoms: DataFrame) -> DataFrame:
    """Per model, domain and slice of the unit interval: counts in lower slices, and in all."""
    counts = ("pairs", "positives")
    of_model = W.partitionBy(*_MODEL)
    below = of_model.orderBy("slice").rowsBetween(W.unboundedPreceding, -1)
    slices = atoms.groupBy(*_MODEL, "slice").agg(*[F.sum(count).alias(count) for count in counts])
    return slices.select(
        *_MODEL, "slice",
        *[F.coalesce(F.sum(count).over(below), F.lit(0)).alias(f"{count}_below_slice") for count in counts],
        *[F.sum(count).over(of_model).alias(f"all_{count}") for count in counts],
    )  # fmt: skip


def _loss_terms(predicted: Column, *, pairs: Column, positives: Column) -> dict[str, Column]:
    probability = F.col(c.PROBABILITY)
    clipped = F.greatest(F.lit(_SMALLEST), F.least(F.lit(1 - _SMALLEST), probability))
    return {
        "pairs": pairs,
        "positives": positives,
        "log_loss": -(positives * F.log(clipped) + (pairs - positives) * F.log(1 - clipped)),
        "brier": positives * (1 - probability) * (1 - probability) + (pairs - positives) * probability * probability,
        "true_positives": positives * predicted,
        "predicted": pairs * predicted,
    }


def _placements() -> dict[str, Column]:
    """Share of the other class that each pair stands on the right side of, ties by half (DeLong et al. 1988)."""
    negatives = F.col("pairs") - F.col("positives")
    all_negatives = F.col("all_pairs") - F.col("all_positives")
    negatives_below = F.col("pairs_below") - F.col("positives_below")
    negatives_tied = F.col("pairs_tied") - F.col("positives_tied")
    positives_above = F.col("all_positives") - F.col("positives_below") - F.col("positives_tied")
    of_positive = (negatives_below + negatives_tied / 2) / F.nullif(all_negatives, F.lit(0))
    of_negative = (positives_above + F.col("positives_tied") / 2) / F.nullif(F.col("all_positives"), F.lit(0))
    return {"placed_positives": F.col("positives") * of_positive, "placed_negatives": negatives * of_negative}


def _bin() -> Column:
    """The equal-mass bin of a probability, by the mid-rank of its ties; ties share a bin."""
    mid_rank = F.col("pairs_below") + F.col("pairs_tied") / 2
    return F.least(F.floor(NUM_BINS * mid_rank / F.col("all_pairs")), F.lit(NUM_BINS - 1))


def _bin_gaps() -> Sequence[Column]:
    """Per bin: sum of probabilities minus clicks."""
    gap = F.col(c.PROBABILITY) * F.col("pairs") - F.col("positives")
    return [F.sum(F.when(F.col("bin") == index, gap).otherwise(0.0)) for index in range(NUM_BINS)]
