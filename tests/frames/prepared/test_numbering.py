import pytest

from crossrec_core.frames.prepared.numbering import with_position
from tests.frames.made_events import rows_of

pytestmark = pytest.mark.spark


def numbered(spark, names, *, num_files=1):
    rows = spark.createDataFrame(names, "space string, name string").repartition(num_files)
    return with_position(rows, within=["space"], by=["name"], position="position")


def test_positions_are_dense_from_0_in_every_group(spark):
    names = [("a", f"n{k}") for k in range(300)] + [("b", f"n{k}") for k in range(5)]
    rows = numbered(spark, names).collect()
    assert sorted(row.position for row in rows if row.space == "a") == list(range(300))
    assert sorted(row.position for row in rows if row.space == "b") == list(range(5))


def test_positions_do_not_depend_on_partitions_or_order(spark):
    names = [("a", f"n{k}") for k in range(200)]
    once, again = numbered(spark, names), numbered(spark, names[::-1], num_files=5)
    assert rows_of(once, "name", "position") == rows_of(again, "name", "position")


def test_positions_follow_the_unsigned_hash(spark):
    rows = numbered(spark, [("a", f"n{k}") for k in range(200)]).selectExpr("position", "xxhash64(name) as hash")
    hashes = [row.hash % 2**64 for row in rows.orderBy("position").collect()]
    assert hashes == sorted(hashes)


def test_all_rows_make_one_group_when_none_is_named(spark):
    rows = spark.createDataFrame([("x",), ("y",), ("z",)], "name string")
    positions = [row.position for row in with_position(rows, within=[], by=["name"], position="position").collect()]
    assert sorted(positions) == [0, 1, 2]
