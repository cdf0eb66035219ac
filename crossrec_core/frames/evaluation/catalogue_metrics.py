"""Recommendations and the catalogue in, coverage, novelty and diversity out. Definitions: docs/metrics.md.

All three look at the lists of known users; the reserved user's list is left out.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.intervals import BUCKET, SUMS, bucket_of
from crossrec_core.frames.evaluation.metrics import VALUES, Measure

DIVERSITY_N = 10
DIVERSITY_MEASURES = (("diversity", DIVERSITY_N),)
# A list's diversity needs its items' vectors beside it; this many users say enough about the mean
MAX_DIVERSITY_USERS = 5000

_SLICES = 1000

_CATALOGUE = (c.PURPOSE, c.DOMAIN)
_MODEL = (c.PURPOSE, c.MODEL, c.DOMAIN)
_LIST = (*_MODEL, c.USER_ID)


def novelty_measures(lists: Sequence[int]) -> tuple[Measure, ...]:
    """Every (metric, n) of ``to_novelty``, in order."""
    return tuple(("novelty", n) for n in lists)


def to_coverage(recommendations: DataFrame, item_popularity: DataFrame, *, lists: Sequence[int]) -> DataFrame:
    """Distinct items in the first n places of any list, as a share of the candidates.

    Columns purpose, model, domain, metric, n, value, num_users (lists).
    """
    listed = recommendations.where(F.col(c.USER_ID) != c.NEW_USER_ID)
    items = listed.groupBy(*_MODEL, c.ITEM_ID).agg(
        F.min(c.RANK).alias("best_rank"), F.count_if(F.col(c.RANK) == 1).alias("num_first")
    )
    covered = [F.count_if(F.col("best_rank") <= n).alias(f"covered_{n}") for n in lists]
    candidates = item_popularity.groupBy(*_CATALOGUE).agg(F.count(F.lit(1)).alias("num_candidates"))
    shares = [
        F.struct(F.lit(n).alias(c.N), (F.col(f"covered_{n}") / F.col("num_candidates")).alias("value")) for n in lists
    ]
    return (
        items.groupBy(*_MODEL)
        .agg(*covered, F.sum("num_first").alias(c.NUM_USERS))
        .join(F.broadcast(candidates), list(_CATALOGUE), how="inner")
        .select(*_MODEL, F.lit("coverage").alias(c.METRIC), c.NUM_USERS, F.inline(F.array(*shares)))
    )


def with_surprise(
    recommendations: DataFrame, item_popularity: DataFrame, item_features: DataFrame, known_users: DataFrame
) -> DataFrame:
    """Add item_num and surprise = -log2((num_users(item) + 1) / (users known in the domain + 1)) to each place.

    item_features: the item_num of a domain's item_id. known_users: (purpose, domain, known_users).
    """
    share = (F.col(c.NUM_USERS) + 1) / (F.coalesce(F.col("known_users"), F.lit(0)) + 1)
    surprises = (
        item_popularity.select(*_CATALOGUE, c.ITEM_NUM, c.NUM_USERS)
        .join(item_features.select(c.DOMAIN, c.ITEM_ID, c.ITEM_NUM), [c.DOMAIN, c.ITEM_NUM], how="inner")
        .join(F.broadcast(known_users), list(_CATALOGUE), how="left")
        .select(*_CATALOGUE, c.ITEM_ID, c.ITEM_NUM, (-F.log2(share)).alias("surprise"))
    )
    listed = recommendations.where(F.col(c.USER_ID) != c.NEW_USER_ID)
    return listed.join(surprises, [*_CATALOGUE, c.ITEM_ID], how="inner")


def to_novelty(places: DataFrame, *, lists: Sequence[int]) -> DataFrame:
    """One row per list: ``values``, the mean surprise of its first n places for each n."""
    means = [F.avg(F.when(F.col(c.RANK) <= n, F.col("surprise"))) for n in lists]
    return places.groupBy(*_LIST).agg(F.array(*means).alias(VALUES))


def keep_sampled_users(places: DataFrame, *, num_users: int, seed: int) -> DataFrame:
    """Keep about MAX_DIVERSITY_USERS of ``num_users``, drawn by hash; all if they are fewer."""
    num_kept = min(_SLICES, -(-_SLICES * MAX_DIVERSITY_USERS // max(num_users, 1)))
    return places.where(bucket_of(F.col(c.USER_ID), num_buckets=_SLICES, seed=seed) < num_kept)


def to_diversity(places: DataFrame, item_vectors: DataFrame) -> DataFrame:
    """One row per list with two items or more that have a unit vector: ``values``, its diversity at DIVERSITY_N."""
    first = places.where(F.col(c.RANK) <= DIVERSITY_N)
    return (
        first.join(item_vectors.select(c.ITEM_NUM, c.VECTOR), [c.ITEM_NUM], how="inner")
        .groupBy(*_LIST)
        .agg(F.collect_list(c.VECTOR).alias("vectors"))
        .where(F.size("vectors") >= 2)
        .select(*_LIST, F.array(_diversity(F.col("vectors"))).alias(VALUES))
    )


def to_list_sums(list_values: DataFrame, *, num_measures: int, num_buckets: int, seed: int) -> DataFrame:
    """Values per list to sums per purpose, domain, model and user bucket; the last sum is the number of lists."""
    sums = [F.sum(F.col(VALUES)[index]) for index in range(num_measures)]
    return (
        list_values.withColumn(BUCKET, bucket_of(F.col(c.USER_ID), num_buckets=num_buckets, seed=seed))
        .groupBy(c.PURPOSE, c.DOMAIN, c.MODEL, BUCKET)
        .agg(F.array(*sums, F.count(F.lit(1)).cast("double")).alias(SUMS), F.count(F.lit(1)).alias(c.NUM_USERS))
        .withColumn(c.SEGMENT, F.lit(c.ALL))
    )


def _diversity(vectors: Column) -> Column:
    """1 - mean pairwise cosine of m >= 2 unit vectors v, from their sum: 1 - (|sum|^2 - sum |v|^2) / (m (m - 1)).

    The squared lengths are summed, not taken for m: as float32 they are 1 to seven digits only.
    """
    zeros = F.transform(F.get(vectors, F.lit(0)), lambda _: F.lit(0.0))
    total = F.aggregate(vectors, zeros, lambda acc, vector: F.zip_with(acc, vector, lambda left, right: left + right))
    lengths = F.aggregate(vectors, F.lit(0.0), lambda acc, vector: acc + _squared(vector))
    m = F.size(vectors)
    return 1 - (_squared(total) - lengths) / (m * (m - 1))


def _squared(vector: Column) -> Column:
    return F.aggregate(vector, F.lit(0.0), lambda acc, entry: acc + entry.cast("double") * entry)
