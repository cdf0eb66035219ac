"""Events in, histories (distinct, uncut) and sequences (time-ordered, padded, in parts of max_len) of each purpose out.

All timed domains share the clock ``time`` and mix in one sequence; an order-only domain is a clock of its own, because
its positions say nothing about other domains.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.splits import EVENT_KEY
from crossrec_core.frames.prepared.truth import keep_sampled_users
from crossrec_core.frames.spark.lookups import lookup

TIME_CLOCK = "time"
MAX_GAP_BUCKET = 31
NUM_VALIDATION_TRUTH = 10
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
SEQUENCE_LISTS = (c.ITEM_NUMS, c.DOMAIN_NUMS, c.ACTION_NUMS, c.GAP_BUCKETS, c.SESSION_STARTS, c.EVENT_ORDERS)


def to_histories(known: DataFrame) -> DataFrame:
    """Per purpose, user and domain: the distinct items seen, ascending and uncut. This is what scoring masks."""
    return known.groupBy(c.PURPOSE, c.DOMAIN, c.USER_NUM).agg(
        F.sort_array(F.collect_set(c.ITEM_NUM)).alias(c.ITEM_NUMS),
        F.count(F.lit(1)).alias(c.NUM_EVENTS),
        F.max(c.EVENT_ORDER).alias(c.LAST_EVENT_ORDER),
    )


def to_sequences(
    events: DataFrame, *, purposes: Sequence[str], order_only: Sequence[str], max_len: int,
    session_gap_minutes: float, earlier_parts: int = 0,
) -> DataFrame:  # fmt: skip
    """Per purpose, user and clock: the latest ``max_len`` events as lists of equal length, oldest first, 0 at the end.

    That is part 0; up to ``earlier_parts`` stretches of ``max_len`` events before it are the parts 1 and on.

    ``events`` has split, domain, domain_num and the event columns. Gaps and sessions are those of the whole sequence:
    the first event kept of a long one knows the gap before it. Gap bucket: 1 + floor(log2(1 + seconds)), at most 31.

    item  second             item_nums     gap_buckets
    7     0             ->   [7, 9, 0]     [1, 2, 0]      (max_len 3)
    9     1
    """
    latest = _latest_of_each(_with_clock(events, order_only), purposes, max_events=max_len * (1 + earlier_parts))
    parts = latest.withColumn(c.PART, F.floor((F.col("_size") - F.col("_place")) / max_len).cast("bigint"))
    steps_of = _with_gaps(parts, session_gap_us=round(session_gap_minutes * MINUTE_US))
    sequence = [c.USER_NUM, c.PURPOSE, c.CLOCK, c.PART]
    steps = F.sort_array(F.collect_list(F.struct("_place", *SEQUENCE_LISTS))).alias("steps")
    return (
        steps_of.groupBy(*sequence)
        .agg(steps)
        .select(
            *sequence,
            F.size("steps").cast("bigint").alias(c.LENGTH),
            *[_padded(F.col("steps")[name], max_len).alias(name) for name in SEQUENCE_LISTS],
        )
    )


def to_validation_sequences(
    truth: DataFrame,
    sequences: DataFrame,
    *,
    domain_nums: Mapping[str, int],
    order_only: Sequence[str],
    max_users: int,
    max_len: int,
) -> DataFrame:
    """Up to ``max_users`` users per domain, drawn by hash: their ``validate`` sequence and first ten truth items.

    ``truth`` has purpose, domain, user_num, item_num, event_order and tie_break: a row per held-out item that is a
    candidate. A user without a sequence on the domain's clock (order-only targets) gets zeros.
    """  # fmt: skip
    in_order = F.sort_array(F.collect_list(F.struct(c.EVENT_ORDER, c.TIE_BREAK, c.ITEM_NUM)))
    first = F.slice(in_order, 1, NUM_VALIDATION_TRUTH)
    wanted = (
        _with_clock(keep_sampled_users(truth, max_users=max_users), order_only)
        .groupBy(c.DOMAIN, c.CLOCK, c.USER_NUM)
        .agg(_padded(first[c.ITEM_NUM], NUM_VALIDATION_TRUTH).alias(c.TRUTH_NUMS))
    )
    own = sequences.where(F.col(c.PURPOSE) == c.VALIDATE).select(c.USER_NUM, c.CLOCK, c.LENGTH, *SEQUENCE_LISTS)
    empty = F.array_repeat(F.lit(0).cast("bigint"), max_len)
    return wanted.join(own, on=[c.USER_NUM, c.CLOCK], how="left").select(
        c.DOMAIN,
        c.USER_NUM,
        lookup(domain_nums, c.DOMAIN).alias(c.TARGET_DOMAIN_NUM),
        F.coalesce(c.LENGTH, F.lit(0).cast("bigint")).alias(c.LENGTH),
        *[F.coalesce(name, empty).alias(name) for name in SEQUENCE_LISTS],
        c.TRUTH_NUMS,
    )


def _with_clock(rows: DataFrame, order_only: Sequence[str]) -> DataFrame:
    own_clock = F.col(c.DOMAIN).isin(*order_only) if order_only else F.lit(False)
    return rows.withColumn(c.CLOCK, F.when(own_clock, F.col(c.DOMAIN)).otherwise(TIME_CLOCK))


def _latest_of_each(events: DataFrame, purposes: Sequence[str], *, max_events: int) -> DataFrame:
    """The latest events that each purpose may know: their place in its sequence, the sequence's size, and the order of
    the event before.

    One sort serves all purposes: each counts and looks back among its own events.

    second  split         second  purpose   place  size  before      (max_events 2)
    0       train    ->   0       validate  1      1     null
    5       valid         0       serve     1      2     null
                          5       serve     2      2     0
    """  # fmt: skip
    # A number leads: sorts compare it first, and text only where it is equal
    sequence = W.partitionBy(c.USER_NUM, c.CLOCK)
    by_time = sequence.orderBy(*EVENT_KEY)
    so_far = by_time.rowsBetween(W.unboundedPreceding, W.currentRow)
    until_before = by_time.rowsBetween(W.unboundedPreceding, -1)
    placed, own = {}, []
    for purpose in purposes:
        is_known = F.col(c.SPLIT).isin(*c.KNOWN_SPLITS[purpose])
        known = F.when(is_known, F.col(c.EVENT_ORDER))
        place, size, before = f"_place_{purpose}", f"_size_{purpose}", f"_before_{purpose}"
        placed[place] = F.count(known).over(so_far)
        placed[size] = F.count(known).over(sequence)
        placed[before] = F.last(known, ignorenulls=True).over(until_before)
        is_latest = is_known & (F.col(size) - F.col(place) < max_events)
        fields = (F.lit(purpose).alias(c.PURPOSE), F.col(place).alias("_place"), F.col(size).alias("_size"))
        own.append(F.when(is_latest, F.struct(*fields, F.col(before).alias("_before"))))
    each = F.explode(F.array_compact(F.array(*own))).alias("_own")
    known_to_some = sorted({split for purpose in purposes for split in c.KNOWN_SPLITS[purpose]})
    events = events.where(F.col(c.SPLIT).isin(*known_to_some))  # what nobody knows is not sorted
    return events.withColumns(placed).select(*events.columns, each).select(*events.columns, "_own.*")


def _with_gaps(placed: DataFrame, *, session_gap_us: int) -> DataFrame:
    """Name the columns as the lists they go to, and add gap bucket and session start."""
    gap_us = F.col(c.EVENT_ORDER) - F.col("_before")
    timed_gap_us = F.when(F.col(c.CLOCK) == TIME_CLOCK, gap_us)
    return placed.select(
        c.USER_NUM,
        c.PURPOSE,
        c.CLOCK,
        c.PART,
        "_place",
        F.col(c.ITEM_NUM).alias(c.ITEM_NUMS),
        F.col(c.DOMAIN_NUM).alias(c.DOMAIN_NUMS),
        F.col(c.ACTION_NUM).alias(c.ACTION_NUMS),
        F.coalesce(_gap_bucket(timed_gap_us), F.lit(1)).cast("bigint").alias(c.GAP_BUCKETS),
        (gap_us.isNull() | F.coalesce(timed_gap_us > session_gap_us, F.lit(False)))
        .cast("bigint")
        .alias(c.SESSION_STARTS),
        F.col(c.EVENT_ORDER).alias(c.EVENT_ORDERS),
    )


def _gap_bucket(gap_us: Column) -> Column:
    """1 + floor(log2(1 + seconds)), exactly: the number of binary digits of 1 + seconds; null stays null."""
    gap_s = F.floor(gap_us / F.lit(SECOND_US)).cast("bigint")
    return F.when(gap_s.isNotNull(), F.least(F.length(F.bin(1 + gap_s)), F.lit(MAX_GAP_BUCKET)))


def _padded(numbers: Column, length: int) -> Column:
    return F.concat(numbers, F.array_repeat(F.lit(0).cast("bigint"), F.lit(length) - F.size(numbers)))
