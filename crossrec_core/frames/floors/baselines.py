"""Known events in, what the simple models know out: popularity, decayed popularity, factors of ALS and their map.

Item-kNN and Markov are in ``transitions``.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.recency import decayed_weight, with_age
from crossrec_core.frames.spark.exact_sums import from_parts, to_parts

ALS_BLOCKS = 8  # fixed: the factors depend on it, and must not depend on the cluster's size
NUM_EVENTS, TARGET_VECTOR = "num_events", "target_vector"


class Factors(NamedTuple):
    """Factors of a fitted ALS model: item_num, vector and user_num, vector."""

    items: DataFrame
    users: DataFrame


def to_item_scores(item_popularity: DataFrame) -> DataFrame:
    """Popularity: a candidate's share of the domain's known event weight. Rows: domain, item_num, score."""
    return _to_shares(item_popularity.withColumn("parts", to_parts(F.col(c.WEIGHT))))


def to_decayed_scores(known: DataFrame, item_popularity: DataFrame, *, half_life_days: float) -> DataFrame:
    """Decayed popularity: shares of event weight * 2^(-age / half_life_days); rows as ``to_item_scores``.

    Ages are those of ``recency.with_age`` in the domain. Candidates without a known event score 0.
    """
    left = to_parts(decayed_weight(half_life_days=half_life_days))
    parts = with_age(known, group=[c.DOMAIN]).groupBy(c.DOMAIN, c.ITEM_NUM).agg(F.sum(left).alias("parts"))
    candidates = item_popularity.select(c.DOMAIN, c.ITEM_NUM)
    scored = candidates.join(parts, on=[c.DOMAIN, c.ITEM_NUM], how="left")
    return _to_shares(scored.withColumn("parts", F.coalesce("parts", F.lit(0))))


def to_ratings(known: DataFrame) -> DataFrame:
    """The summed event weight of each user and item over all domains, as ALS takes it: user_num, item_num, weight."""
    parts = known.groupBy(c.USER_NUM, c.ITEM_NUM).agg(F.sum(to_parts(F.col(c.WEIGHT))).alias("parts"))
    return parts.where(F.col("parts") > 0).select(
        F.col(c.USER_NUM).cast("int"), F.col(c.ITEM_NUM).cast("int"), from_parts(F.col("parts")).alias(c.WEIGHT)
    )


def with_domain_weights(known: DataFrame, *, domain: str, own: float, other: float) -> DataFrame:
    """Scale the event weights: those of a domain by ``own``, those of all others by ``other``."""
    return known.withColumn(c.WEIGHT, F.col(c.WEIGHT) * F.when(F.col(c.DOMAIN) == domain, own).otherwise(other))


def to_factors(
    ratings: DataFrame, *, rank: int, iterations: int, regularisation: float, alpha: float, seed: int
) -> Factors:
    """Factors of implicit ALS (Hu, Koren, Volinsky 2008); the penalty of a user or item grows with its ratings.

    With ratings of several domains it is collective matrix factorisation (Singh and Gordon 2008): a user's factors
    are shared by the domains, and each domain counts by the weight of its events.

    Rows are put in a fixed order and a fixed number of blocks, so that a rerun starts from the same factors and adds
    in the same order.
    """
    ordered = ratings.repartition(ALS_BLOCKS, c.USER_NUM).sortWithinPartitions(c.USER_NUM, c.ITEM_NUM)
    als = ALS(
        rank=rank, maxIter=iterations, regParam=regularisation, alpha=alpha, implicitPrefs=True, seed=seed,
        numUserBlocks=ALS_BLOCKS, numItemBlocks=ALS_BLOCKS, userCol=c.USER_NUM, itemCol=c.ITEM_NUM,
        ratingCol=c.WEIGHT, checkpointInterval=-1,
    )  # fmt: skip
    model = als.fit(ordered)
    return Factors(_named(model.itemFactors, c.ITEM_NUM), _named(model.userFactors, c.USER_NUM))


def to_map_sums(sources: DataFrame, targets: DataFrame, ratings: DataFrame) -> DataFrame:
    """The sums that a ridge map from source to target factors of the shared users needs (EMCDR, Man et al. 2017).

    A user counts by the number of the target's ratings: how sure the target factors are.

    Args:
        sources, targets: user_num and vector, K long.
        ratings: the target's, a row per user and item.

    Returns:
        At most ``ALS_BLOCKS`` rows of one list [2 * K * K]: the sum of n * s s^T, then that of n * s t^T. Rows are
        added in a fixed order, so that a rerun gives the same bits; the sum of the rows is left to the caller.
    """
    counts = ratings.groupBy(c.USER_NUM).agg(F.count(F.lit(1)).cast("double").alias(NUM_EVENTS))
    shared = (
        sources.join(targets.select(c.USER_NUM, F.col(c.VECTOR).alias(TARGET_VECTOR)), on=c.USER_NUM, how="inner")
        .join(counts, on=c.USER_NUM, how="inner")
        .repartition(ALS_BLOCKS, c.USER_NUM)
        .sortWithinPartitions(c.USER_NUM)
    )
    return shared.mapInPandas(_add_products, "sums array<double>")


def _add_products(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Users with both factors and a count -> one row with the two sums."""
    total: np.ndarray | float = 0.0
    for users in batches:
        if len(users):
            source_UK, target_UK = (
                np.array(users[name].tolist(), dtype=np.float64) for name in (c.VECTOR, TARGET_VECTOR)
            )
            weighed_UK = source_UK * users[NUM_EVENTS].to_numpy()[:, None]
            products = [(weighed_UK.T @ other_UK).ravel() for other_UK in (source_UK, target_UK)]
            total = total + np.concatenate(products)
    if isinstance(total, np.ndarray):
        yield pd.DataFrame({"sums": [total]})


def _named(factors: DataFrame, id_name: str) -> DataFrame:
    return factors.select(F.col("id").cast("bigint").alias(id_name), F.col("features").alias(c.VECTOR))


def _to_shares(scored: DataFrame) -> DataFrame:
    """Parts per domain and item -> shares that sum to 1 in each domain; 0 where nothing is known."""
    totals = scored.groupBy(c.DOMAIN).agg(F.sum("parts").alias("total"))
    share = F.when(F.col("total") > 0, F.col("parts") / F.col("total")).otherwise(0.0)
    return scored.join(F.broadcast(totals), on=c.DOMAIN, how="inner").select(c.DOMAIN, c.ITEM_NUM, share.alias(c.SCORE))
