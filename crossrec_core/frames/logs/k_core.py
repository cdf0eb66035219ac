"""Events in, the same events with thin training users and items marked out: the iterated k-core."""

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c

_PAIR = (c.DOMAIN, c.USER_NUM, c.ITEM_NUM)


def mark_core(events: DataFrame, *, min_user_events: int, min_item_events: int, max_rounds: int) -> DataFrame:
    """Take training events of users and items that have too few of them, within their domain, out of training.

    Each round drops users, then items, below their minimum; rounds end when nothing is dropped, or at ``max_rounds``.
    What is dropped becomes the split ``out_of_core``: nothing learns from it, but a user still has those items.
    Events of other splits stay what they are: who is held out does not depend on it.

    user  item  split         user  item  split
    u     i     train         u     i     train
    u     j     train    ->   u     j     train
    v     i     train         v     i     out_of_core       (min_user_events 2)
    v     i     test          v     i     test
    """
    is_train = F.col(c.SPLIT) == c.TRAIN
    pairs = events.where(is_train).groupBy(*_PAIR).agg(F.count(F.lit(1)).alias(c.NUM_EVENTS))
    core = _iterate(pairs, min_user_events, min_item_events, max_rounds).select(*_PAIR, F.lit(True).alias("_core"))
    is_out = is_train & F.col("_core").isNull()
    marked = events.join(core, on=list(_PAIR), how="left")
    return marked.withColumn(c.SPLIT, F.when(is_out, c.OUT_OF_CORE).otherwise(F.col(c.SPLIT))).drop("_core")


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
