"""The id tables: what a run without a new name leaves alone."""

from collections.abc import Sequence
from datetime import date

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import version_of
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows
from jobs.prepare_events import write_names
from jobs.steps import Night
from jobs.store import Store

pytestmark = pytest.mark.spark


def write(spark: SparkSession, lake: Lake, run_id: str, names: Sequence[str]) -> tuple[int, int]:
    """The rows that the run has now, and the table's version."""
    rows = spark.createDataFrame([("s", name) for name in names], f"{c.USER_SPACE} string, {c.USER_ID} string")
    store = Store(spark, Night(run_id, date(2026, 1, 31), lake))
    counts = write_names(rows, t.USER_IDS, c.USER_SPACE, c.USER_ID, c.USER_NUM, store)
    return counts[t.USER_IDS.name], version_of(lake, t.USER_IDS)


def test_a_run_without_a_new_name_writes_nothing_and_one_with_a_new_name_numbers_it(
    spark: SparkSession, lake: Lake
) -> None:
    assert write(spark, lake, "first", ["ann", "bob", "ann"]) == (2, 0)
    assert write(spark, lake, "second", ["bob"]) == (0, 0)
    assert write(spark, lake, "first", ["ann", "bob"]) == (2, 0)
    assert write(spark, lake, "second", ["bob", "cy"]) == (1, 1)
    numbers = {row[c.USER_ID]: row[c.USER_NUM] for row in read_rows(lake, t.USER_IDS)}
    assert numbers["cy"] == 3
    assert sorted(numbers.values()) == [1, 2, 3]


def test_an_empty_first_run_makes_the_table(spark: SparkSession, lake: Lake) -> None:
    assert write(spark, lake, "first", []) == (0, 0)


def test_a_run_may_change_the_type_of_its_own_ids_but_not_of_those_of_others(spark: SparkSession, lake: Lake) -> None:
    assert write(spark, lake, "first", ["1", "2"]) == (2, 0)
    with pytest.raises(LakeError, match=r"user_ids: ids of space 's' were integers, .* and 0 of 1 are known"):
        write(spark, lake, "second", ["x"])
    assert write(spark, lake, "first", ["x"]) == (3, 1)
