"""Known events in, the candidate items of each purpose and domain with their popularity out."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.recency import decayed_weight, with_age
from crossrec_core.frames.spark.exact_sums import exact_sum

_GROUP = (c.PURPOSE, c.DOMAIN)


def to_popularity(
    known: DataFrame, *, head_share: float, half_life_days: float, trend_half_lives_days: Sequence[float]
) -> DataFrame:
    """Per purpose, domain and item: known events, distinct users, weight, recent weights, and whether the item is head.

    The recent weight halves every ``half_life_days`` of an event's age (see ``recency.with_age``); the trend weights
    hold the same for each of ``trend_half_lives_days``: together they say whether an item rises or falls.

    Head are the most popular items that together make ``head_share`` of the events: items are taken by falling number
    of events, all of one number at once, until the share is reached. So items with equally many events are all head or
    all tail, and only the few distinct numbers have to be put in order.
    """
    trends = [exact_sum(decayed_weight(half_life_days=days)) for days in trend_half_lives_days]
    counts = (
        with_age(known, group=_GROUP)
        .groupBy(*_GROUP, c.ITEM_NUM)
        .agg(
            F.count(F.lit(1)).alias(c.NUM_EVENTS),
            F.count_distinct(c.USER_NUM).alias(c.NUM_USERS),
            exact_sum(F.col(c.WEIGHT)).alias(c.WEIGHT),
            exact_sum(decayed_weight(half_life_days=half_life_days)).alias(c.RECENT_WEIGHT),
            F.array(*trends).alias(c.TREND_WEIGHTS),
        )
    )
    return counts.join(_to_head_counts(counts, head_share), on=[*_GROUP, c.NUM_EVENTS], how="inner")


def with_listed_items(
    popularity: DataFrame, item_features: DataFrame, *, purposes: Sequence[str], num_trends: int
) -> DataFrame:
    """Make every listed item a candidate of every purpose: those nobody has touched come with zero events.

    A domain without a single known event has candidates too.
    """
    every = F.explode(F.array(*map(F.lit, purposes))).alias(c.PURPOSE)
    listed = item_features.select(c.DOMAIN, c.ITEM_NUM, every)
    zero = F.lit(0).cast("bigint")
    no_trend = F.array(*[F.lit(0.0)] * num_trends)
    return listed.join(popularity, on=[*_GROUP, c.ITEM_NUM], how="left").select(
        *_GROUP,
        c.ITEM_NUM,
        F.coalesce(c.NUM_EVENTS, zero).alias(c.NUM_EVENTS),
        F.coalesce(c.NUM_USERS, zero).alias(c.NUM_USERS),
        F.coalesce(c.WEIGHT, F.lit(0.0)).alias(c.WEIGHT),
        F.coalesce(c.RECENT_WEIGHT, F.lit(0.0)).alias(c.RECENT_WEIGHT),
        F.coalesce(c.TREND_WEIGHTS, no_trend).alias(c.TREND_WEIGHTS),
        F.coalesce(c.IS_HEAD, F.lit(False)).alias(c.IS_HEAD),
    )


def _to_head_counts(counts: DataFrame, head_share: float) -> DataFrame:
    """Per purpose and domain: each distinct number of events, and whether items with so many are head."""
    group = W.partitionBy(*_GROUP)
    before = group.orderBy(F.col(c.NUM_EVENTS).desc()).rowsBetween(W.unboundedPreceding, -1)
    by_count = counts.groupBy(*_GROUP, c.NUM_EVENTS).agg(F.sum(c.NUM_EVENTS).alias("events"))
    events_before = F.coalesce(F.sum("events").over(before), F.lit(0))
    is_head = events_before < head_share * F.sum("events").over(group)
    return by_count.select(*_GROUP, c.NUM_EVENTS, is_head.alias(c.IS_HEAD))
