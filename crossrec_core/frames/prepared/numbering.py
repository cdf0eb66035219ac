"""Rows in, the same rows with a position in hash order out: dense, deterministic, without a one-partition window."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

BUCKET_BITS = 8
_HASH, _BUCKET, _START = "_hash", "_bucket", "_start"


def with_position(rows: DataFrame, *, within: Sequence[str], by: Sequence[str], position: str) -> DataFrame:
    """Number the rows of each ``within`` group 0, 1, 2... in the order of the hash of ``by``.

    ``by`` is unique within a group. The top bits of the hash cut a group into buckets whose sizes (at most 256 rows
    a group) give each bucket its start, so that a window never holds more than a bucket. The rows are read twice:
    persist them where they cost much. With an empty ``within`` all rows make one group.

    item               item  position
    a  (hash 7)        a     1
    b  (hash 3)   ->   b     0
    c  (hash 9)        c     2
    """
    hashed = rows.withColumn(_HASH, F.xxhash64(*by)).withColumn(_BUCKET, _unsigned_top(F.col(_HASH)))
    in_bucket = W.partitionBy(*within, _BUCKET).orderBy(_HASH, *by)
    return (
        hashed.join(F.broadcast(_bucket_starts(hashed, within)), on=[*within, _BUCKET], how="inner")
        .withColumn(position, F.col(_START) + F.row_number().over(in_bucket) - 1)
        .drop(_HASH, _BUCKET, _START)
    )


def _bucket_starts(hashed: DataFrame, within: Sequence[str]) -> DataFrame:
    """Rows before each bucket of a group: within, bucket -> start."""
    sizes = hashed.groupBy(*within, _BUCKET).agg(F.count(F.lit(1)).alias("size"))
    buckets = sizes.groupBy(*within).agg(F.sort_array(F.collect_list(F.struct(_BUCKET, "size"))).alias("buckets"))

    def start(bucket: Column, place: Column) -> Column:
        before = F.slice("buckets", 1, place)
        total = F.aggregate(before, F.lit(0).cast("bigint"), lambda sum_, other: sum_ + other["size"])
        return F.struct(bucket[_BUCKET].alias(_BUCKET), total.alias(_START))

    return buckets.select(*within, F.inline(F.transform("buckets", start)))


def _unsigned_top(hashed: Column) -> Column:
    """The hash's top bits: buckets in unsigned order; inside a bucket signed and unsigned order agree."""
    return F.shiftrightunsigned(hashed, 64 - BUCKET_BITS)
