"""Short rows in, frames with every column of an event out: what the tests of the Spark room are built from."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c

SCHEMA = "user_num bigint, domain string, item_num bigint, event_order bigint, split string"
SECOND_US = 1_000_000
HALF_LIVES = {"half_life_days": 30.0, "trend_half_lives_days": [7.0]}


def make_events(
    spark: SparkSession, rows: Sequence[tuple[int, str, int, int, str]], *, num_files: int = 1
) -> DataFrame:
    """Events from (user_num, domain, item_num, second, split): action 1, weight 1, ties broken by a hash."""
    return (
        spark.createDataFrame(list(rows), SCHEMA)
        .repartition(num_files)
        .withColumn(c.EVENT_ORDER, F.col(c.EVENT_ORDER) * SECOND_US)
        .withColumn(c.EVENT_TIME, F.timestamp_micros(c.EVENT_ORDER))
        .withColumn(c.TIE_BREAK, F.xxhash64(c.USER_NUM, c.ITEM_NUM))
        .withColumn(c.ACTION_NUM, F.lit(1).cast("bigint"))
        .withColumn(c.DOMAIN_NUM, F.ascii(c.DOMAIN).cast("bigint"))
        .withColumn(c.WEIGHT, F.lit(1.0))
        .withColumn(c.VALUE, F.lit(None).cast("double"))
    )


def rows_of(frame: DataFrame, *names: str) -> list[tuple[object, ...]]:
    """The rows of some columns, sorted."""
    return sorted((tuple(row) for row in frame.select(*names).collect()), key=repr)
