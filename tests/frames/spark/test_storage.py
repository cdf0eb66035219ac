"""Frames in, tables of the lake out, and back."""

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import tables as t
from crossrec_core.delta import open_table
from crossrec_core.errors import LakeError
from crossrec_core.frames.spark.contracts import conform
from crossrec_core.frames.spark.storage import read_table, write_table
from crossrec_core.lake import Lake

pytestmark = pytest.mark.spark


def histories(spark: SparkSession, run_id: str, domain: str, *user_nums: int) -> DataFrame:
    rows = [(run_id, "serve", domain, user_num, [1, user_num], 2, 5) for user_num in user_nums]
    return spark.createDataFrame(rows, schema=t.HISTORIES.ddl)


def users_of(frame: DataFrame) -> list[tuple[str, str, int]]:
    return sorted((row.run_id, row.domain, row.user_num) for row in frame.collect())


def test_rows_come_back_as_they_were_written(spark: SparkSession, lake: Lake) -> None:
    frame = histories(spark, "2026-01-01", "007", 3, 4)
    assert write_table(frame, lake, t.HISTORIES, run_id="2026-01-01") == 2
    back = read_table(spark, lake, t.HISTORIES, run_id="2026-01-01")
    assert back.schema.simpleString() == frame.schema.simpleString()
    assert sorted(back.collect()) == sorted(frame.collect())


def test_a_write_replaces_its_run_or_part_of_it(spark: SparkSession, lake: Lake) -> None:
    write_table(histories(spark, "a", "x", 1).union(histories(spark, "a", "y", 2)), lake, t.HISTORIES, run_id="a")
    write_table(histories(spark, "b", "x", 3), lake, t.HISTORIES, run_id="b")
    write_table(histories(spark, "a", "y", 4), lake, t.HISTORIES, run_id="a", replace={"domain": "y"})
    assert users_of(read_table(spark, lake, t.HISTORIES)) == [("a", "x", 1), ("a", "y", 4), ("b", "x", 3)]
    write_table(histories(spark, "a", "z", 5), lake, t.HISTORIES, run_id="a")
    assert users_of(read_table(spark, lake, t.HISTORIES)) == [("a", "z", 5), ("b", "x", 3)]


def test_partitions_pick_files(spark: SparkSession, lake: Lake) -> None:
    write_table(histories(spark, "a", "x", 1).union(histories(spark, "a", "y", 2)), lake, t.HISTORIES, run_id="a")
    assert users_of(read_table(spark, lake, t.HISTORIES, where={"domain": ["y", "z"]})) == [("a", "y", 2)]


def test_an_absent_table_reads_as_no_rows(spark: SparkSession, lake: Lake) -> None:
    assert read_table(spark, lake, t.HISTORIES).columns == list(t.HISTORIES.column_names)


def test_a_failed_write_leaves_the_table_as_it_was(spark: SparkSession, lake: Lake) -> None:
    write_table(histories(spark, "a", "x", 1), lake, t.HISTORIES, run_id="a")
    broken = histories(spark, "a", "x", 2).selectExpr(
        "run_id",
        "purpose",
        "domain",
        "user_num",
        "item_nums",
        "num_events",
        "raise_error('killed') AS last_event_order",
    )
    broken = broken.withColumn("last_event_order", broken.last_event_order.cast("bigint"))
    with pytest.raises(Exception, match="killed"):
        write_table(broken, lake, t.HISTORIES, run_id="a")
    assert users_of(read_table(spark, lake, t.HISTORIES)) == [("a", "x", 1)]


def test_readers_without_spark_see_the_same_rows(spark: SparkSession, lake: Lake) -> None:
    write_table(histories(spark, "a", "x", 1, 2), lake, t.HISTORIES, run_id="a")
    opened = open_table(lake, t.HISTORIES)
    assert opened is not None
    assert sorted(opened.to_pyarrow_table()["user_num"].to_pylist()) == [1, 2]


def test_a_lake_may_be_a_file_url(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(f"file://{tmp_path}/lake")
    write_table(histories(spark, "a", "x", 1), lake, t.HISTORIES, run_id="a")
    assert users_of(read_table(spark, lake, t.HISTORIES)) == [("a", "x", 1)]


def test_all_differences_come_in_one_error(spark: SparkSession) -> None:
    frame = spark.sql("SELECT 'r' AS run_id, 1 AS purpose, 'x' AS domain, 2L AS user_num, 3 AS extra")
    with pytest.raises(LakeError) as caught:
        conform(frame, t.HISTORIES)
    for part in ("item_nums is missing", "extra is not declared", "purpose is int, expected string"):
        assert part in str(caught.value)
