"""Training events in, a bounded sample of the weighted pairs of items that follow each other out."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.floors.transitions import EARLIER, LATER, keep_latest, to_pairs, with_clock


def to_edges(training_events: DataFrame, *, max_history: int, max_edges: int) -> DataFrame:
    """Pairs of items that are next to each other in a user's ``max_history`` latest events, in either order.

    At most ``max_edges`` pairs, picked by hash, in that order. Events as for ``transitions``.

    Returns:
        item_num < next_item_num, weight (how often).
    """
    events = keep_latest(with_clock(training_events), max_history=max_history)
    pairs = to_pairs(events, c.ITEM_NUM, by=[c.USER_NUM, c.CLOCK], window=1)
    ends = (F.col(EARLIER), F.col(LATER))
    edges = (
        pairs.where(ends[0] != ends[1])
        .groupBy(F.least(*ends).alias(c.ITEM_NUM), F.greatest(*ends).alias(c.NEXT_ITEM_NUM))
        .agg(F.count(F.lit(1)).cast("double").alias(c.WEIGHT))
    )
    return edges.orderBy(F.xxhash64(c.ITEM_NUM, c.NEXT_ITEM_NUM), c.ITEM_NUM, c.NEXT_ITEM_NUM).limit(max_edges)
