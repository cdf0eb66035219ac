"""fingerprints: the same rows in any order are the same, anything else is a change."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.logs.fingerprints import changed_users, latest_fingerprints, to_fingerprints, with_row_hash
from crossrec_core.frames.logs.sources import TIME_TEXT, VALUE_TEXT

pytestmark = pytest.mark.spark

NEWEST = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = (
    f"{c.DOMAIN} string, {c.USER_ID} string, {c.ITEM_ID} string, {c.ACTION} string, {VALUE_TEXT} string, "
    f"{TIME_TEXT} string, {c.EVENT_TIME} timestamp"
)
EVENT = {
    c.DOMAIN: "books", c.USER_ID: "ann", c.ITEM_ID: "i1", c.ACTION: "view", VALUE_TEXT: "5", TIME_TEXT: "17",
    c.EVENT_TIME: datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip
OTHER = {**EVENT, c.ITEM_ID: "i2", VALUE_TEXT: None}


def marks_of(spark: SparkSession, *events: dict[str, object], newest: datetime = NEWEST) -> dict[str, Row]:
    frame = with_row_hash(spark.createDataFrame([Row(**event) for event in events], SCHEMA), newest=newest)
    return {row[c.USER_ID]: row for row in to_fingerprints(frame).collect()}


def test_the_order_of_the_rows_is_no_change(spark: SparkSession) -> None:
    one = marks_of(spark, EVENT, OTHER, {**EVENT, c.USER_ID: "bob"})
    assert one == marks_of(spark, {**EVENT, c.USER_ID: "bob"}, OTHER, EVENT)
    assert (one["ann"][c.NUM_ROWS], one["bob"][c.NUM_ROWS]) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [{c.DOMAIN: "films"}, {c.ITEM_ID: "i3"}, {c.ACTION: "buy"}, {VALUE_TEXT: "4"}, {VALUE_TEXT: None},
     {TIME_TEXT: "18"}, {c.DOMAIN: None}],
    ids=str,
)  # fmt: skip
def test_any_other_row_is_a_change_and_so_is_one_more_of_the_same(
    spark: SparkSession, change: dict[str, object]
) -> None:
    before, after = marks_of(spark, EVENT, OTHER), marks_of(spark, {**EVENT, **change}, OTHER)
    assert before["ann"][c.FINGERPRINT] != after["ann"][c.FINGERPRINT]
    assert marks_of(spark, EVENT, EVENT)["ann"] != marks_of(spark, EVENT)["ann"]


def test_an_event_of_the_future_becomes_another_when_its_day_has_come(spark: SparkSession) -> None:
    yesterday = datetime(2025, 12, 31, tzinfo=UTC)
    assert marks_of(spark, EVENT) != marks_of(spark, EVENT, newest=yesterday)


def test_rows_of_nobody_have_no_fingerprint(spark: SparkSession) -> None:
    assert marks_of(spark, *[{**EVENT, c.USER_ID: user} for user in (None, " ", c.NEW_USER_ID)]) == {}


def marks(spark: SparkSession, rows: list[tuple[object, ...]], *names: str) -> DataFrame:
    types = ", ".join(f"{name} string" for name in names)
    return spark.createDataFrame(rows, f"{types}, {c.NUM_ROWS} bigint, {c.FINGERPRINT} bigint")


def test_the_newest_run_that_looked_at_a_user_counts_and_who_is_gone_is_left_out(spark: SparkSession) -> None:
    rows = [("r1", "ann", 1, 7), ("r1", "bob", 1, 8), ("r1", "cy", 1, 9), ("r2", "ann", 2, 5), ("r2", "cy", 0, 0)]
    found = latest_fingerprints(marks(spark, rows, c.RUN_ID, c.USER_ID), ["r2", "r1"])
    assert sorted(map(tuple, found.collect())) == [("ann", 2, 5), ("bob", 1, 8)]


def test_those_who_differ_came_or_left_have_changed(spark: SparkSession) -> None:
    now = marks(spark, [("ann", 1, 7), ("bob", 3, 5), ("dan", 1, 1)], c.USER_ID)
    before = marks(spark, [("ann", 1, 7), ("bob", 2, 5), ("cy", 1, 4)], c.USER_ID)
    changed = sorted(map(tuple, changed_users(now, before).collect()))
    assert changed == [("bob", 3, 5), ("cy", 0, 0), ("dan", 1, 1)]
    everyone = sorted(map(tuple, changed_users(now, before, everyone=True).collect()))
    assert everyone == [("ann", 1, 7), *changed]
