"""Known events in, their age in days and what is left of their weight out."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.splits import DAY_US, EVENT_KEY

AGE = "age"


def with_age(known: DataFrame, *, group: Sequence[str]) -> DataFrame:
    """Add ``age``: days between an event and the latest of its ``group`` (a domain, or a purpose and domain).

    An order-only log has no common clock: there the age is the number of events its user had after it in the group.
    """
    is_timed = F.col(c.EVENT_TIME).isNotNull()
    timed, ordered = known.where(is_timed), known.where(~is_timed)
    latest = timed.groupBy(*group).agg(F.max(c.EVENT_ORDER).alias("_latest"))
    days = (F.col("_latest") - F.col(c.EVENT_ORDER)) / F.lit(DAY_US)
    aged = timed.join(F.broadcast(latest), on=list(group), how="inner").withColumn(AGE, days).drop("_latest")
    latest_first = W.partitionBy(c.USER_NUM, *group).orderBy(*(F.col(name).desc() for name in (*EVENT_KEY, c.ITEM_NUM)))
    events_after = (F.row_number().over(latest_first) - 1).cast("double")
    return aged.unionByName(ordered.withColumn(AGE, events_after))


def decayed_weight(*, half_life_days: float) -> Column:
    """An event's weight, halved for every ``half_life_days`` of its age."""
    return F.col(c.WEIGHT) * F.pow(F.lit(2.0), -F.col(AGE) / F.lit(half_life_days))
