"""Known events in, what the simple models know out: popularity, decayed popularity, factors of ALS.

Item-kNN and Markov are in ``transitions``.
"""

from pyspark.ml.recommendation import ALS
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.exact_sums import from_parts, to_parts
from crossrec_core.frames.splits import DAY_US, EVENT_KEY

ALS_BLOCKS = 8  # fixed: the factors depend on it, and must not depend on the cluster's size


def to_item_scores(item_popularity: DataFrame) -> DataFrame:
    """Popularity: a candidate's share of the domain's known event weight. Rows: domain, item_num, score."""
    return _to_shares(item_popularity.withColumn("parts", to_parts(F.col(c.WEIGHT))))


def to_decayed_scores(known: DataFrame, item_popularity: DataFrame, *, half_life_days: float) -> DataFrame:
    """Decayed popularity: shares of event weight * 2^(-age / half_life_days); rows as ``to_item_scores``.

    In a timed domain an event's age is the days between it and the domain's latest known event. An order-only log has
    no common clock: there the age is the number of events that its user had after it in the domain.
    Candidates without a known event score 0.
    """
    decay = F.pow(F.lit(2.0), -F.col("age") / F.lit(half_life_days))
    parts = _with_age(known).groupBy(c.DOMAIN, c.ITEM_NUM).agg(F.sum(to_parts(F.col(c.WEIGHT) * decay)).alias("parts"))
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


def _with_age(known: DataFrame) -> DataFrame:
    """Add the age of each event: days to the domain's latest, or the user's later events where there is order only."""
    is_timed = F.col(c.EVENT_TIME).isNotNull()
    timed, ordered = known.where(is_timed), known.where(~is_timed)
    latest = timed.groupBy(c.DOMAIN).agg(F.max(c.EVENT_ORDER).alias(c.LAST_EVENT_ORDER))
    days = (F.col(c.LAST_EVENT_ORDER) - F.col(c.EVENT_ORDER)) / F.lit(DAY_US)
    latest_first = W.partitionBy(c.USER_NUM, c.DOMAIN).orderBy(*_descending(*EVENT_KEY, c.ITEM_NUM))
    events_after = (F.row_number().over(latest_first) - 1).cast("double")
    aged = timed.join(F.broadcast(latest), on=c.DOMAIN, how="inner").withColumn("age", days)
    names = (c.DOMAIN, c.ITEM_NUM, c.WEIGHT, "age")
    return aged.select(*names).unionByName(ordered.withColumn("age", events_after).select(*names))


def _to_shares(scored: DataFrame) -> DataFrame:
    """Parts per domain and item -> shares that sum to 1 in each domain; 0 where nothing is known."""
    totals = scored.groupBy(c.DOMAIN).agg(F.sum("parts").alias("total"))
    share = F.when(F.col("total") > 0, F.col("parts") / F.col("total")).otherwise(0.0)
    return scored.join(F.broadcast(totals), on=c.DOMAIN, how="inner").select(c.DOMAIN, c.ITEM_NUM, share.alias(c.SCORE))


def _descending(*names: str) -> list[Column]:
    return [F.col(name).desc() for name in names]
