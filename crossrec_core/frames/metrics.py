"""Recommendations and truth in, ranking metrics per user out: every metric at every n in one aggregation.

Definitions, with denominators: docs/metrics.md.
"""

from collections.abc import Sequence
from math import log2

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.segments import ITEM_KINDS, ITEMS, is_of_kind, stored_segment

RANKING_METRICS = ("recall", "precision", "hr", "ndcg", "map", "mrr")
VALUES = "values"
Measure = tuple[str, int]

_USER = (c.PURPOSE, c.DOMAIN, c.USER_ID)
_LIST = (c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID)


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
    kinds = users.join(hits, list(_LIST), how="left").select(
        *_LIST, c.SEGMENT, F.explode(F.array(*[_of_kind(kind) for kind in ITEM_KINDS])).alias("kind")
    )
    return kinds.where("kind.num_truth > 0").select(
        *_LIST, c.SEGMENT, F.col("kind.items").alias(ITEMS),
        _values(F.col("kind.ranks"), F.col("kind.num_truth"), lists).alias(VALUES),
    )  # fmt: skip


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
    """One row per purpose, domain and user: the segment, and ``num_<kind>`` held-out items."""
    counts = [F.count_if(_kind_of_row(kind)).cast("int").alias(f"num_{kind}") for kind in ITEM_KINDS]
    return truth.groupBy(*_USER, c.SEGMENT).agg(*counts)


def _to_hits(recommendations: DataFrame, truth: DataFrame) -> DataFrame:
    """One row per list with a hit: ``hits``, an array of (rank, item_kinds)."""
    list_user = F.when(F.col(c.SEGMENT) == c.NEW, F.lit(c.NEW_USER_ID)).otherwise(F.col(c.USER_ID))
    flags = [_kind_of_row(kind).alias(kind) for kind in ITEM_KINDS]
    wanted = truth.select(*_USER, list_user.alias("list_user"), c.ITEM_ID, *flags)
    listed = recommendations.select(
        c.PURPOSE, c.MODEL, c.DOMAIN, F.col(c.USER_ID).alias("list_user"), c.ITEM_ID, c.RANK
    )
    hit = F.struct(c.RANK, *ITEM_KINDS)
    return (
        listed.join(wanted, [c.PURPOSE, c.DOMAIN, "list_user", c.ITEM_ID], how="inner")
        .groupBy(*_LIST)
        .agg(F.collect_list(hit).alias("hits"))
    )


def _kind_of_row(kind: str) -> Column:
    return is_of_kind(kind, is_known=F.col(c.IS_KNOWN_ITEM), is_head=F.col(c.IS_HEAD))


def _of_kind(kind: str) -> Column:
    """(items, num_truth, ranks): the sorted ranks of the user's hits of one kind."""
    of_kind = F.filter(F.coalesce(F.col("hits"), F.array()), lambda hit: hit[kind])
    ranks = F.array_sort(F.transform(of_kind, lambda hit: hit[c.RANK]))
    return F.struct(F.lit(kind).alias("items"), F.col(f"num_{kind}").alias("num_truth"), ranks.alias("ranks"))


def _values(ranks: Column, num_truth: Column, lists: Sequence[int]) -> Column:
    """All measures of one list, from its sorted hit ranks."""
    ideal = [sum(1 / log2(rank + 1) for rank in range(1, n + 1)) for n in range(1, max(lists) + 1)]
    ideal_dcg = F.array(*[F.lit(gain) for gain in ideal])
    by_n = {n: _values_at(ranks, num_truth, n, ideal_dcg) for n in lists}
    values = F.array(*[by_n[n][metric] for metric, n in ranking_measures(lists)])
    zeros = F.array(*[F.lit(0.0) for _ in ranking_measures(lists)])
    return F.when(F.size(ranks) == 0, zeros).otherwise(values)


def _values_at(ranks: Column, num_truth: Column, n: int, ideal_dcg: Column) -> dict[str, Column]:
    top = F.filter(ranks, lambda rank: rank <= n)
    num_hits = F.size(top)
    reachable = F.least(num_truth, F.lit(n))
    gains = F.transform(top, lambda rank: F.lit(1.0) / F.log2(rank + 1))
    precisions = F.transform(top, lambda rank, index: (index + 1) / rank)
    return {
        "recall": num_hits / num_truth,
        "precision": num_hits / F.lit(n),
        "hr": F.when(num_hits > 0, 1.0).otherwise(0.0),
        "ndcg": _sum(gains) / F.element_at(ideal_dcg, reachable),
        "map": _sum(precisions) / reachable,
        "mrr": F.when(num_hits > 0, F.lit(1.0) / F.get(ranks, F.lit(0))).otherwise(0.0),
    }


def _sum(numbers: Column) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda total, number: total + number)
