"""A raw log in, prepared Parquet out by RePlay on Polars or on Spark: the small log first, then the other, a line each.

Its filters keep no rejects, and none of them knows repeats or nulls: these are dropped as Polars and Spark do it. What
its SequenceTokenizer does besides making tensors of torch is done by the same encoders and ``groupby_sequences``.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

folder, max_len, threads, is_spark, driver_gib, *rest = (Path(sys.argv[1]), *map(int, sys.argv[2:]))
valid_start, test_start, newest, *domains = rest
os.environ["POLARS_MAX_THREADS"] = str(threads)  # read when polars is imported
os.environ["TZ"] = "UTC"  # its filters and splitters compare with moments that know no zone

import polars as pl
from replay.data.nn.utils import groupby_sequences
from replay.preprocessing import LabelEncoder, LabelEncodingRule
from replay.preprocessing.filters import NumInteractionsFilter, TimePeriodFilter
from replay.splitters import TimeSplitter

found = folder / ("replay_spark" if is_spark else "replay_polars")
RENAMED = {"user_id": "user_num", "item_id": "item_num"}  # the encoder replaces ids where they stand
NAMES = ["user_id", "domain", "item_id", "event_time"]


def moment(millis: int) -> datetime:
    """A moment of UTC without a zone."""
    return datetime.fromtimestamp(millis / 1000, UTC).replace(tzinfo=None)


def prepare(log: Path) -> None:
    """Filter, encode, split, group; ``events`` are a frame of Polars or of Spark."""
    events = read(log)
    is_early = TimePeriodFilter(moment(0), moment(newest + 1), timestamp_column="event_time")
    events = is_early.transform(events).select(NAMES)
    events = remembered(events.dropDuplicates() if is_spark else events.unique())
    write(events, "kept")
    encoder = LabelEncoder([LabelEncodingRule("user_id"), LabelEncodingRule("item_id")])
    events = remembered(encoder.fit_transform(events))
    for name, rule in zip(("user", "item"), encoder.rules, strict=True):
        mapping = rule.get_mapping()
        numbers = {f"{name}_id": list(mapping.keys()), f"{name}_num": list(mapping.values())}
        pl.DataFrame(numbers).write_parquet(found / f"{name}_ids.parquet")
    before_test, test = TimeSplitter(moment(test_start), timestamp_column="event_time").split(events)
    train, valid = TimeSplitter(moment(valid_start), timestamp_column="event_time").split(before_test)
    for split, rows in (("train", train), ("valid", valid), ("test", test)):
        write(rows.withColumn("split", sf.lit(split)) if is_spark else rows.with_columns(split=pl.lit(split)),
              f"events-{split}", RENAMED)  # fmt: skip
    last = NumInteractionsFilter(max_len, first=False, query_column="user_id", timestamp_column="event_time")
    for purpose, known in (("validate", train), ("backtest", before_test), ("serve", events)):
        sequences = groupby_sequences(last.transform(known), groupby_col="user_id", sort_col="event_time")
        write(sequences, f"sequences-{purpose}", RENAMED)


def read(log: Path) -> Any:
    """The rows that name a domain of ours and an item, with moments as its filters take them."""
    if is_spark:
        rows = spark.read.parquet(str(log)).where(sf.col("domain").isin(domains)).dropna(subset=["item_id"])
        return rows.withColumn("event_time", sf.timestamp_millis("event_time"))
    rows = pl.scan_parquet(log / "*.parquet").filter(pl.col("domain").is_in(domains)).drop_nulls("item_id")
    return rows.with_columns(pl.col("event_time").cast(pl.Datetime("ms"))).collect(engine="streaming")


def remembered(frame: Any) -> Any:
    """What several passes read: in memory, or where Spark keeps it."""
    return frame.cache() if is_spark else frame


def write(frame: Any, name: str, names: Mapping[str, str] = {}) -> None:
    """A Parquet file, or Spark's folder of them, under the names that the check reads."""
    if is_spark:
        frame.withColumnsRenamed(names).write.parquet(str(found / f"{name}.parquet"))
    else:
        frame.rename(names, strict=False).write_parquet(found / f"{name}.parquet")


if is_spark:
    import pyspark.sql.functions as sf
    from replay.utils.session_handler import get_spark_session

    spark = get_spark_session(spark_memory=driver_gib, shuffle_partitions=3 * threads, core_count=threads)
for turn, _ in enumerate(sys.stdin):
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    prepare(folder / ("log" if turn else "small"))
    if is_spark:
        spark.catalog.clearCache()
    print("solved", flush=True)
