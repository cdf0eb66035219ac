"""Events in, their split out: train, valid or test, by time or by leave-one-out.

Order inside one event_order is a hash of the outside user and item (``tie_break``), never ids or file order: many logs
have a day's grain, and a tie sorted by item id leaks the target. Only where that is equal too (a user meets one item
twice at once) domain and action decide.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.spark.lookups import lookup

DAY_US = 86_400_000_000
AFTER_TEST = "after_test_window"
EVENT_KEY = (c.EVENT_ORDER, c.TIE_BREAK, c.DOMAIN, c.ACTION_NUM)
MIN_HELD_OUT_EVENTS = 3


class Cut(NamedTuple):
    """Unix microseconds: train < valid_start <= valid < test_start <= test < test_end."""

    valid_start: int
    test_start: int
    test_end: int


def with_tie_break(events: DataFrame, *, seed: int) -> DataFrame:
    """Add the order within one event_order: a hash of user_id, item_id and the seed."""
    return events.withColumn(c.TIE_BREAK, F.xxhash64(c.USER_ID, c.ITEM_ID, F.lit(seed)))


def read_last_orders(events: DataFrame) -> dict[str, int]:
    """Domain -> its latest event_order."""
    rows = events.groupBy(c.DOMAIN).agg(F.max(c.EVENT_ORDER).alias(c.LAST_EVENT_ORDER)).collect()
    return {row[c.DOMAIN]: row[c.LAST_EVENT_ORDER] for row in rows}


def make_cuts(
    last_orders: Mapping[str, int], *, cut: str, test_days: float, valid_days: float, per_domain: bool
) -> dict[str, Cut]:
    """Where each domain is cut. All windows are half open: the first moment belongs, the last does not.

    With ``cut`` (an ISO date, UTC) the test lasts ``test_days`` from it. Without, it is the last ``test_days`` up to
    and with the latest event: of all domains, or with ``per_domain`` of each.

    Raises:
        ValueError: ``cut`` is not an ISO date.
    """
    latest = max(last_orders.values(), default=0)

    def cut_of(last_order: int) -> Cut:
        length = round(test_days * DAY_US)
        start = _microseconds(cut) if cut else last_order + 1 - length
        return Cut(start - round(valid_days * DAY_US), start, start + length)

    return {domain: cut_of(last if per_domain else latest) for domain, last in last_orders.items()}


def with_time_split(events: DataFrame, cuts: Mapping[str, Cut]) -> DataFrame:
    """Add the split by time; what lies after the test window is marked ``after_test_window``."""

    def at(bound: str) -> Column:
        return lookup({domain: getattr(cut, bound) for domain, cut in cuts.items()}, c.DOMAIN)

    order = F.col(c.EVENT_ORDER)
    split = (
        F.when(order < at("valid_start"), c.TRAIN)
        .when(order < at("test_start"), c.VALID)
        .when(order < at("test_end"), c.TEST)
        .otherwise(AFTER_TEST)
    )
    return events.withColumn(c.SPLIT, split)


def with_leave_one_out(
    events: DataFrame, *, hold_test: bool, hold_valid: bool, across_domains: bool = False
) -> DataFrame:
    """Add the split of papers' protocols: per user and domain the last event tests, the one before validates.

    ``across_domains``: per user, over the one sequence of all domains; it takes a common clock. Users with fewer than
    three events there only train. Repeated items count as events.

    user  domain  order        split
    u     d       1            train
    u     d       2       ->   valid
    u     d       3            test
    """
    own = W.partitionBy(c.USER_NUM) if across_domains else W.partitionBy(c.USER_NUM, c.DOMAIN)
    latest_first = own.orderBy(*[F.col(name).desc() for name in EVENT_KEY])
    held = [split for split, is_held in ((c.TEST, hold_test), (c.VALID, hold_valid)) if is_held]
    split = F.lit(c.TRAIN)
    for place, name in enumerate(held, 1):
        split = F.when((F.col("_place") == place) & (F.col("_size") >= MIN_HELD_OUT_EVENTS), name).otherwise(split)
    return (
        events.withColumn("_place", F.row_number().over(latest_first))
        .withColumn("_size", F.count(F.lit(1)).over(own))
        .withColumn(c.SPLIT, split)
        .drop("_place", "_size")
    )


def purposes_of(*, hold_test: bool, hold_valid: bool) -> list[str]:
    """The purposes a run prepares for."""
    return [c.VALIDATE] * hold_valid + [c.BACKTEST] * hold_test + [c.SERVE]


def to_known_events(events: DataFrame, purposes: Sequence[str], *, also: Sequence[str] = ()) -> DataFrame:
    """One row per event and purpose that may know it, so that one pass serves all purposes.

    ``also`` names splits that every purpose knows besides its own.

    split          split  purpose
    train     ->   train  validate, backtest, serve  (three rows)
    valid          valid  backtest, serve
    test           test   serve
    """
    known = [F.when(F.col(c.SPLIT).isin(*c.KNOWN_SPLITS[purpose], *also), purpose) for purpose in purposes]
    return events.withColumn(c.PURPOSE, F.explode(F.array_compact(F.array(*known))))


def _microseconds(iso_date: str) -> int:
    moment = datetime.fromisoformat(iso_date)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1_000_000
