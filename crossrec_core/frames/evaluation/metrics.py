"""Recommendations and truth in, ranking metrics per user out: every metric at every n in one aggregation.

Definitions, with denominators: docs/metrics.md.
"""

from collections.abc import Sequence
from math import log2

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.segments import ITEM_KINDS, ITEMS, is_of_kind, stored_segment

RANKING_METRICS = ("recall", "precision", "hr", "ndcg", "map", "mrr")
VALUES = "values"
Measure = tuple[str, int]

# Users come first: sorts compare what differs early
_USER = (c.USER_ID, c.PURPOSE, c.DOMAIN)
_LIST = (c.USER_ID, c.PURPOSE, c.MODEL, c.DOMAIN)
_FIRST = "first_rank"
_NUM_TRUTH = "num_truth"


def ranking_measures(lists: Sequence[int]) -> tuple[Measure, ...]:
    """Every (metric, n), in the order of the ``values`` array."""
    return tuple((metric, n) for metric in RANKING_METRICS for n in lists)


def to_user_values(recommendations: DataFrame, truth: DataFrame, *, lists: Sequence[int]) -> DataFrame:
    """One row per purpose, model, domain, user, and kind of item the user has held out.

    recommendations                truth                       user  segment  items        values
    user  item  rank   item  is_known_item  is_head            u     warm     all          [0.5, ...]
    u     a     1      a     true           true          ->   u     warm     known_items  [1.0, ...]
    u     b     2      x     false          false              u     warm     head_items   [1.0, ...]

    ``values`` follows ``ranking_measures(lists)``. Users with truth and no list have zeros; users nobody has seen
    (segment new) get the list of the reserved user id. Models are those that have any list of the purpose and domain.
    """
    models = recommendations.select(c.PURPOSE, c.MODEL, c.DOMAIN).distinct()
    users = _to_truth_users(truth).join(models, [c.PURPOSE, c.DOMAIN], how="inner")
    hits = _to_hits(recommendations.where(F.col(c.RANK) <= max(lists)), truth)
    sums = _to_hit_sums(hits, lists)
    return users.join(sums, [*_LIST, ITEMS], how="left").select(
        *_LIST, c.SEGMENT, ITEMS, _values(F.col(_NUM_TRUTH), lists).alias(VALUES)
    )


def to_user_metrics(user_values: DataFrame, *, lists: Sequence[int], keep: Sequence[int]) -> DataFrame:
    """Long rows of user_metrics for the list lengths in ``keep``; one per user, stored segment, metric and n."""
    pairs = [
        F.struct(F.lit(metric).alias(c.METRIC), F.lit(n).alias(c.N), F.col(VALUES)[index].alias("value"))
        for index, (metric, n) in enumerate(ranking_measures(lists))
        if n in keep
    ]
    segment = stored_segment(F.col(c.SEGMENT), F.col(ITEMS)).alias(c.SEGMENT)
    return user_values.select(*_LIST, segment, F.inline(F.array(*pairs)))


def count_users_without_list(recommendations: DataFrame, truth: DataFrame) -> DataFrame:
    """Per purpose, model and domain: users with truth, known before the cut, that got no list (num_users, 0 kept)."""
    models = recommendations.select(c.PURPOSE, c.MODEL, c.DOMAIN).distinct()
    known = truth.where(F.col(c.SEGMENT) != c.NEW).select(*_USER).distinct()
    listed = recommendations.where(F.col(c.RANK) == 1).select(*_LIST, F.lit(1).alias("has_list"))
    return (
        known.join(models, [c.PURPOSE, c.DOMAIN], how="inner")
        .join(listed, list(_LIST), how="left")
        .groupBy(c.PURPOSE, c.MODEL, c.DOMAIN)
        .agg(F.count_if(F.col("has_list").isNull()).alias(c.NUM_USERS))
    )


def _to_truth_users(truth: DataFrame) -> DataFrame:
    """One row per purpose, domain, user and kind of held-out item: the segment, ``num_truth`` items, never 0."""
    counts = [F.count_if(_kind_of_row(kind)).cast("int").alias(kind) for kind in ITEM_KINDS]
    kinds = [F.struct(F.lit(kind).alias(ITEMS), F.col(kind).alias(_NUM_TRUTH)) for kind in ITEM_KINDS]
    users = truth.groupBy(*_USER, c.SEGMENT).agg(*counts)
    return users.select(*_USER, c.SEGMENT, F.inline(F.array(*kinds))).where(F.col(_NUM_TRUTH) > 0)


def _to_hits(recommendations: DataFrame, truth: DataFrame) -> DataFrame:
    """One row per held-out item of a list and kind of item that it is: rank."""
    list_user = F.when(F.col(c.SEGMENT) == c.NEW, F.lit(c.NEW_USER_ID)).otherwise(F.col(c.USER_ID))
    kinds = F.array_compact(F.array(*[F.when(_kind_of_row(kind), F.lit(kind)) for kind in ITEM_KINDS]))
    wanted = truth.select(*_USER, list_user.alias("list_user"), c.ITEM_ID, kinds.alias("kinds"))
    listed = recommendations.select(
        c.PURPOSE, c.MODEL, c.DOMAIN, F.col(c.USER_ID).alias("list_user"), c.ITEM_ID, c.RANK
    )
    hits = listed.join(wanted, [c.PURPOSE, c.DOMAIN, "list_user", c.ITEM_ID], how="inner")
    return hits.select(*_LIST, c.RANK, F.explode("kinds").alias(ITEMS))


def _to_hit_sums(hits: DataFrame, lists: Sequence[int]) -> DataFrame:
    """One row per list and kind of item with a hit: the first rank, and per n the sums that measures are made of.

    Sums are taken in the order of the ranks, so that every run has the same last digit.
    """
    rank = F.col(c.RANK)
    so_far = F.row_number().over(Window.partitionBy(*_LIST, ITEMS).orderBy(c.RANK))
    terms = {"hits": F.lit(1.0), "gain": F.lit(1.0) / F.log2(rank + 1), "precision": F.col("so_far") / rank}
    sums = [F.sum(F.when(rank <= n, term)).alias(_sum_at(name, n)) for n in lists for name, term in terms.items()]
    return hits.withColumn("so_far", so_far).groupBy(*_LIST, ITEMS).agg(F.min(c.RANK).alias(_FIRST), *sums)


def _kind_of_row(kind: str) -> Column:
    return is_of_kind(kind, is_known=F.col(c.IS_KNOWN_ITEM), is_head=F.col(c.IS_HEAD))


def _values(num_truth: Column, lists: Sequence[int]) -> Column:
    """All measures of a row of ``_to_hit_sums``, whose sums are null where there is no hit."""
    by_n = {n: _values_at(num_truth, n) for n in lists}
    return F.array(*[by_n[n][metric] for metric, n in ranking_measures(lists)])


def _values_at(num_truth: Column, n: int) -> dict[str, Column]:
    num_hits, gain, precision = (F.coalesce(_sum_at(name, n), F.lit(0.0)) for name in ("hits", "gain", "precision"))
    ideal = [sum(1 / log2(rank + 1) for rank in range(1, reachable + 1)) for reachable in range(1, n + 1)]
    reachable = F.least(num_truth, F.lit(n))
    return {
        "recall": num_hits / num_truth,
        "precision": num_hits / F.lit(n),
        "hr": F.when(num_hits > 0, 1.0).otherwise(0.0),
        "ndcg": gain / F.element_at(F.array(*[F.lit(value) for value in ideal]), reachable),
        "map": precision / reachable,
        "mrr": F.when(num_hits > 0, F.lit(1.0) / F.col(_FIRST)).otherwise(0.0),
    }


def _sum_at(name: str, n: int) -> str:
    return f"{name}_at_{n}"
