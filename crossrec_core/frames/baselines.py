"""Known events in, what the simple models know out: popularity, decayed popularity, factors of ALS.

Item-kNN and Markov are in ``transitions``.
"""

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.exact_sums import from_parts, to_parts
from crossrec_core.frames.recency import decayed_weight, with_age

ALS_BLOCKS = 8  # fixed: the factors depend on it, and must not depend on the cluster's size


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


def to_factors(
    ratings: DataFrame, *, rank: int, iterations: int, regularisation: float, alpha: float, seed: int
) -> DataFrame:
    """Item factors of implicit ALS (Hu, Koren, Volinsky 2008) over all domains jointly: item_num, vector.

    Rows are put in a fixed order and a fixed number of blocks, so that a rerun starts from the same factors and adds
    in the same order.
    """
    ordered = ratings.repartition(ALS_BLOCKS, c.USER_NUM).sortWithinPartitions(c.USER_NUM, c.ITEM_NUM)
    als = ALS(
        rank=rank, maxIter=iterations, regParam=regularisation, alpha=alpha, implicitPrefs=True, seed=seed,
        numUserBlocks=ALS_BLOCKS, numItemBlocks=ALS_BLOCKS, userCol=c.USER_NUM, itemCol=c.ITEM_NUM,
        ratingCol=c.WEIGHT, checkpointInterval=-1,
    )  # fmt: skip
    factors = als.fit(ordered).itemFactors
    return factors.select(F.col("id").cast("bigint").alias(c.ITEM_NUM), F.col("features").alias(c.VECTOR))


def _to_shares(scored: DataFrame) -> DataFrame:
    """Parts per domain and item -> shares that sum to 1 in each domain; 0 where nothing is known."""
    totals = scored.groupBy(c.DOMAIN).agg(F.sum("parts").alias("total"))
    share = F.when(F.col("total") > 0, F.col("parts") / F.col("total")).otherwise(0.0)
    return scored.join(F.broadcast(totals), on=c.DOMAIN, how="inner").select(c.DOMAIN, c.ITEM_NUM, share.alias(c.SCORE))
