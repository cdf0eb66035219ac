"""Events in, interactions and rejects with a reason out. Fixed rules only, nothing is fitted.

Rules run in the order of ``REASONS`` and a row keeps the first reason that applies, so a repeat of a rejected row is
judged by itself. A row that is kept passes every rule again: cleaning twice equals cleaning once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window as W

from crossrec_core import columns as c
from crossrec_core.frames.logs.sources import IS_CORRUPT, VALUE_TEXT, is_blank

FUTURE_TIME = "future_time"
REASONS = (
    "corrupt_row", "unknown_domain", "missing_user", "missing_item", "reserved_user_id", "unparsable_time",
    "ancient_time", FUTURE_TIME, "unknown_event_type", "unparsable_value", "value_out_of_bounds",
    "bot", "duplicate", "near_duplicate", "burst",
)  # fmt: skip
_SECOND = 1_000_000
_MINUTE, _DAY = 60 * _SECOND, 24 * 3600 * _SECOND
_GROUP_HASH, _SOUND_USER = "group_hash", "sound_user"
# The hash leads: sorts then compare numbers first, ten times cheaper than the strings behind it.
_GROUP = (_GROUP_HASH, c.DOMAIN, _SOUND_USER)
Rule = TypeVar("Rule")


@dataclass(frozen=True)
class Cleaned:
    """``kept``: the events' columns and weight. ``rejected``: the same and reason. Together all rows, each once."""

    kept: DataFrame
    rejected: DataFrame


def split_by_reason(judged: DataFrame) -> Cleaned:
    """Split what ``with_reason`` gave."""
    return Cleaned(
        kept=judged.where(F.col(c.REASON).isNull()).drop(c.REASON), rejected=judged.where(F.col(c.REASON).isNotNull())
    )


def with_reason(
    events: DataFrame,
    *,
    event_weights: Mapping[str, Mapping[str, float]],
    value_bounds: Mapping[str, tuple[float, float]],
    oldest: datetime,
    newest: datetime,
    drop_duplicates: bool,
    repeat_within_s: int,
    max_events_per_day: int,
    max_events_per_minute: int,
) -> DataFrame:
    """Add weight and reason (null: keep the row) to every event.

    ``event_weights``: per domain the known event types and their weights. ``value_bounds``: per domain the lowest and
    highest value. Times before ``oldest`` or after ``newest`` (both with a time zone) are out. The limits per day and
    minute and ``repeat_within_s`` are off at 0. A day or minute is one of the UTC calendar. Positions of order-only
    logs know no time rule, bot, near duplicate or burst.
    """  # fmt: skip
    judged = events.withColumn(c.WEIGHT, _by_domain(event_weights, _weight)).withColumn(
        c.REASON, _row_reason(value_bounds, oldest=oldest, newest=newest)
    )
    judged = _in_user_groups(judged)
    if max_events_per_day:
        judged = _with_bots(judged, max_events_per_day=max_events_per_day)
    if drop_duplicates:
        judged = _with_duplicates(judged)
    if repeat_within_s:
        judged = _with_near_duplicates(judged, within_s=repeat_within_s)
    if max_events_per_minute:
        judged = _with_bursts(judged, max_events_per_minute=max_events_per_minute)
    return judged.drop(_GROUP_HASH, _SOUND_USER)


def _row_reason(value_bounds: Mapping[str, tuple[float, float]], *, oldest: datetime, newest: datetime) -> Column:
    """The first rule that a row breaks by itself, or null."""
    event_time = F.col(c.EVENT_TIME)
    has_value = ~is_blank(F.col(VALUE_TEXT))
    broken = {
        "corrupt_row": F.col(IS_CORRUPT),
        "unknown_domain": F.col(c.DOMAIN).isNull(),
        "missing_user": is_blank(F.col(c.USER_ID)),
        "missing_item": is_blank(F.col(c.ITEM_ID)),
        "reserved_user_id": F.col(c.USER_ID) == c.NEW_USER_ID,
        "unparsable_time": F.col(c.EVENT_ORDER).isNull(),
        "ancient_time": event_time < F.lit(oldest),
        FUTURE_TIME: event_time > F.lit(newest),
        "unknown_event_type": F.col(c.WEIGHT).isNull(),
        "unparsable_value": has_value & F.col(c.VALUE).isNull(),
        "value_out_of_bounds": has_value & ~_by_domain(value_bounds, _is_within),
    }
    return F.coalesce(*[F.when(breaks, F.lit(reason)) for reason, breaks in broken.items()])


def _in_user_groups(judged: DataFrame) -> DataFrame:
    """Bring the sound events of a user and domain together once, for all windows; rejects are spread by their hash."""
    is_sound = F.col(c.REASON).isNull()
    group_hash = F.when(is_sound, F.xxhash64(c.DOMAIN, c.USER_ID)).otherwise(F.xxhash64(c.RAW_TEXT))
    grouped = judged.withColumn(_GROUP_HASH, group_hash).withColumn(_SOUND_USER, F.when(is_sound, F.col(c.USER_ID)))
    return grouped.repartition(*_GROUP)


def _with_bots(judged: DataFrame, *, max_events_per_day: int) -> DataFrame:
    """Reject all events of a user in a domain who exceeds the limit on any day there.

    user  day  (limit 2)      user  day  reason
    u     1                   u     1    bot
    u     2                   u     2    bot
    u     2              ->   u     2    bot
    u     2                   u     2    bot
    v     2                   v     2
    """
    by_day = W.partitionBy(*_GROUP, _period(_DAY))
    counted = judged.withColumn("per_day", F.count(c.EVENT_TIME).over(by_day))
    busiest = F.max("per_day").over(W.partitionBy(*_GROUP))
    return _with_next_reason(counted.withColumn("busiest", busiest), F.col("busiest") > max_events_per_day, "bot").drop(
        "per_day", "busiest"
    )


def _with_duplicates(judged: DataFrame) -> DataFrame:
    """Reject all but one of the events with the same user, domain, item, action and time or position.

    Which one stays is decided by the hash of the raw row, never by the order of the rows.
    """
    same = W.partitionBy(*_GROUP, c.ITEM_ID, c.ACTION, c.EVENT_ORDER).orderBy(*_tie_order())
    placed = judged.withColumn("place", F.row_number().over(same))
    return _with_next_reason(placed, F.col("place") > 1, "duplicate").drop("place")


def _with_near_duplicates(judged: DataFrame, *, within_s: int) -> DataFrame:
    """Reject events at most ``within_s`` seconds after the event before with the same user, domain, item and action.

    The event before counts even if it was itself rejected as a repeat: a chain of repeats keeps its first event only.

    second  (within 3)        second  reason
    0                         0
    2                    ->   2       near_duplicate
    4                         4       near_duplicate
    30                        30
    """
    by_item = W.partitionBy(*_GROUP, c.ITEM_ID, c.ACTION).orderBy(c.EVENT_ORDER, *_tie_order())
    gap = F.col(c.EVENT_ORDER) - F.lag(c.EVENT_ORDER).over(by_item)
    is_repeat = F.col(c.EVENT_TIME).isNotNull() & (F.col("gap") <= within_s * _SECOND)
    return _with_next_reason(judged.withColumn("gap", gap), is_repeat, "near_duplicate").drop("gap")


def _with_bursts(judged: DataFrame, *, max_events_per_minute: int) -> DataFrame:
    """Reject a user's events past the limit within one minute of the clock; the earliest stay."""
    by_minute = W.partitionBy(*_GROUP, _period(_MINUTE)).orderBy(c.EVENT_ORDER, *_tie_order())
    so_far = by_minute.rowsBetween(W.unboundedPreceding, W.currentRow)
    placed = judged.withColumn("place", F.count(F.when(F.col(c.REASON).isNull(), F.col(c.EVENT_TIME))).over(so_far))
    return _with_next_reason(placed, F.col("place") > max_events_per_minute, "burst").drop("place")


def _with_next_reason(judged: DataFrame, breaks: Column, reason: str) -> DataFrame:
    return judged.withColumn(c.REASON, F.coalesce(c.REASON, F.when(breaks, F.lit(reason))))


def _by_domain(rules: Mapping[str, Rule], to_column: Callable[[Rule], Column]) -> Column:
    """What the rule of the row's domain says; null for a domain without one."""
    return F.coalesce(*[F.when(F.col(c.DOMAIN) == domain, to_column(rule)) for domain, rule in rules.items()])


def _weight(weights: Mapping[str, float]) -> Column:
    return F.coalesce(*[F.when(F.col(c.ACTION) == name, F.lit(float(weight))) for name, weight in weights.items()])


def _is_within(bounds: tuple[float, float]) -> Column:
    """NaN lies above every number in Spark, hence outside."""
    return F.col(c.VALUE).between(*bounds)


def _period(micros: int) -> Column:
    """The start of the day or minute an event lies in; null for positions."""
    event_order = F.col(c.EVENT_ORDER)
    return F.when(F.col(c.EVENT_TIME).isNotNull(), event_order - F.pmod(event_order, F.lit(micros)))


def _tie_order() -> tuple[Column, ...]:
    """An order that only rows equal in every respect can tie in."""
    return F.xxhash64(c.ITEM_ID, c.RAW_TEXT), F.col(c.RAW_TEXT), F.col(c.SOURCE_FILE)
