"""Events of the logs in, a fingerprint of every user's rows out: whoever has another one has changed since.

A sum of hashes does not depend on the order of the rows, so that a log that is written anew changes nobody.
"""

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.logs.sources import TIME_TEXT, VALUE_TEXT, is_blank
from crossrec_core.frames.spark.lookups import lookup

_HALF = 32  # bits; sums of whole hashes would overflow


def with_row_hash(events: DataFrame, *, newest: datetime) -> DataFrame:
    """Add the hash of what a row of ``sources.read_log`` says.

    ``newest`` belongs to it: an event of the future is taken in when its day has come, though the log has not changed.
    """
    is_future = F.coalesce(F.col(c.EVENT_TIME) > F.lit(newest), F.lit(False))
    return events.withColumn(c.ROW_HASH, F.xxhash64(c.DOMAIN, c.ITEM_ID, c.ACTION, VALUE_TEXT, TIME_TEXT, is_future))


def with_user(events: DataFrame) -> DataFrame:
    """The rows that name a user who may have lists."""
    return events.where(~is_blank(F.col(c.USER_ID)) & (F.col(c.USER_ID) != c.NEW_USER_ID))


def to_fingerprints(hashed: DataFrame) -> DataFrame:
    """Per user id: num_rows and fingerprint of the rows of all domains, from user_id and row_hash.

    Ids are compared as the logs spell them, whatever the space: two users of one id change together.
    """
    row = F.col(c.ROW_HASH)
    return (
        with_user(hashed)
        .groupBy(c.USER_ID)
        .agg(
            F.count(F.lit(1)).alias(c.NUM_ROWS),
            F.sum(F.shiftright(row, _HALF)).alias("_high"),
            F.sum(row.bitwiseAND(F.lit(2**_HALF - 1))).alias("_low"),
        )
        .select(c.USER_ID, c.NUM_ROWS, F.xxhash64("_high", "_low").alias(c.FINGERPRINT))
    )


def latest_fingerprints(rows: DataFrame, parts: Sequence[str]) -> DataFrame:
    """What the newest of ``parts`` (run ids, newest first) that looked at a user saw: (user_id, num_rows, fingerprint).

    ``rows`` are those runs' user_fingerprints. Users found gone are left out.
    """
    place = lookup({run_id: place for place, run_id in enumerate(parts)}, c.RUN_ID)
    # Apart: Spark hashes numbers, and sorts for a struct
    newest = [F.min_by(name, place).alias(name) for name in (c.NUM_ROWS, c.FINGERPRINT)]
    seen = rows.groupBy(c.USER_ID).agg(*newest)
    return seen.where(F.col(c.NUM_ROWS) > 0)


def changed_users(now: DataFrame, before: DataFrame, *, everyone: bool = False) -> DataFrame:
    """The users of either side whose rows differ, as they are now; those gone with 0 rows. ``everyone``: all of them.

    now          before            changed
    ann  1  7    ann  1  7    ->   bob  3  5
    bob  3  5    bob  2  6         cy   0  0
                 cy   1  4
    """
    both = now.alias("now").join(before.alias("before"), on=c.USER_ID, how="full")
    is_same = F.lit(False)
    if not everyone:
        is_same = F.struct(f"now.{c.NUM_ROWS}", f"now.{c.FINGERPRINT}").eqNullSafe(
            F.struct(f"before.{c.NUM_ROWS}", f"before.{c.FINGERPRINT}")
        )
    return both.where(~is_same).select(
        c.USER_ID,
        *[F.coalesce(f"now.{name}", F.lit(0)).cast("bigint").alias(name) for name in (c.NUM_ROWS, c.FINGERPRINT)],
    )
