"""Events in, the same events without thin training users and items out: the iterated k-core."""

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c

_PAIR = (c.DOMAIN, c.USER_NUM, c.ITEM_NUM)


def keep_core(events: DataFrame, *, min_user_events: int, min_item_events: int, max_rounds: int) -> DataFrame:
    """Keep training events of users and items that have enough of them, within their domain.

    Each round drops users, then items, below their minimum; rounds end when nothing is dropped, or at ``max_rounds``.
    Events of other splits are never dropped: who is held out does not depend on it.

    user  item  split         user  item  split
    u     i     train         u     i     train
    u     j     train    ->   u     j     train
    v     i     train         v     i     test         (min_user_events 2)
    v     i     test
    """
    is_train = F.col(c.SPLIT) == c.TRAIN
    pairs = events.where(is_train).groupBy(*_PAIR).agg(F.count(F.lit(1)).alias(c.NUM_EVENTS))
    core = _iterate(pairs, min_user_events, min_item_events, max_rounds)
    kept = events.where(is_train).join(core, on=list(_PAIR), how="left_semi")
    return kept.unionByName(events.where(~is_train))


def _iterate(pairs: DataFrame, min_user_events: int, min_item_events: int, max_rounds: int) -> DataFrame:
    """Each round is cached, and the one before let go: a round's count decides whether another is needed."""
    core, size = pairs, -1
    for _ in range(max_rounds):
        smaller = _keep_frequent(_keep_frequent(core, c.USER_NUM, min_user_events), c.ITEM_NUM, min_item_events).cache()
        size, before = smaller.count(), size
        core.unpersist()
        core = smaller
        if size == before:
            break
    return core


def _keep_frequent(pairs: DataFrame, name: str, min_events: int) -> DataFrame:
    total = F.sum(c.NUM_EVENTS).over(W.partitionBy(c.DOMAIN, name))
    return pairs.withColumn("_total", total).where(F.col("_total") >= min_events).drop("_total")
