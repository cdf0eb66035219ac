"""The user frame: one row per user and clock, with the sequence and what to mask."""

from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.lists.user_frame import (
    LISTS,
    Target,
    fallback_user,
    user_frame,
    wanted_by_everyone,
    wanted_by_truth,
    with_pairs,
)

pytestmark = pytest.mark.spark

MAX_LEN = 3
FILMS = Target(name="films", num=1, clock="time", user_space="shared", exclude_seen=True)
BOOKS = Target(name="books", num=2, clock="time", user_space="shared", exclude_seen=False)
GAMES = Target(name="games", num=3, clock="games", user_space="shared", exclude_seen=True)
POSTS = Target(name="posts", num=4, clock="posts", user_space="forum", exclude_seen=True)


def to_sequences(spark: SparkSession, rows: list[tuple[str, int, list[int]]]) -> DataFrame:
    """(clock, user_num, items) with every list holding the items."""
    arrays = ", ".join(f"{name} array<bigint>" for name in LISTS)
    lists = [[items + [0] * (MAX_LEN - len(items))] * len(LISTS) for _, _, items in rows]
    full = [(clock, user, len(items), *own) for (clock, user, items), own in zip(rows, lists, strict=True)]
    return spark.createDataFrame(full, f"clock string, user_num bigint, length bigint, {arrays}")


def to_histories(spark: SparkSession, rows: list[tuple[str, int, list[int]]]) -> DataFrame:
    return spark.createDataFrame(rows, "domain string, user_num bigint, item_nums array<bigint>")


def to_user_ids(spark: SparkSession, rows: list[tuple[str, str, int]]) -> DataFrame:
    return spark.createDataFrame(rows, "user_space string, user_id string, user_num bigint")


def to_wanted(spark: SparkSession, rows: list[tuple[int, str]]) -> DataFrame:
    return spark.createDataFrame(rows, "user_num bigint, domain string")


def frame_rows(
    spark: SparkSession, wanted: list[tuple[int, str]], sequences: list[tuple[str, int, list[int]]],
    histories: list[tuple[str, int, list[int]]], targets: list[Target],
) -> list[dict[str, Any]]:  # fmt: skip
    user_ids = to_user_ids(spark, [("shared", f"u{user}", user) for user in (1, 2, 3)])
    users = user_frame(
        to_wanted(spark, wanted), to_sequences(spark, sequences), to_histories(spark, histories), user_ids,
        targets=targets, max_len=MAX_LEN, num_partitions=2,
    )  # fmt: skip
    return sorted((row.asDict() for row in users.collect()), key=lambda row: (row[c.USER_ID], row[c.ITEM_NUMS]))


def test_a_user_has_one_row_on_one_clock_with_seen_items_and_wanted_domains(spark: SparkSession) -> None:
    rows = frame_rows(
        spark, [(1, "films"), (2, "films"), (2, "books")], [("time", 1, [5, 9]), ("time", 2, [7])],
        [("films", 1, [5]), ("books", 1, [9]), ("films", 2, [7])], [FILMS, BOOKS],
    )  # fmt: skip
    assert [row[c.USER_ID] for row in rows] == ["u1", "u2"]
    assert all(row[name] == row[c.ITEM_NUMS] for row in rows for name in LISTS)
    assert rows[0][c.ITEM_NUMS] == [5, 9, 0]
    assert (rows[0]["seen_1"], rows[0]["wanted_1"], rows[0]["wanted_2"]) == ([5], True, False)
    assert (rows[1]["seen_1"], rows[1]["wanted_1"], rows[1]["wanted_2"]) == ([7], True, True)
    assert rows[0]["seen_2"] == []  # books may repeat
    segments = [[c.USER_SEGMENTS[row[f"segment_code_{num}"]] for num in (1, 2)] for row in rows]
    assert segments == [[c.WARM, c.WARM], [c.WARM, c.COLD_IN_DOMAIN]]  # warm in books, though they may repeat


def test_rated_targets_have_what_is_known_of_the_users_likes(spark: SparkSession) -> None:
    rated = replace(FILMS, is_rated=True)
    likes = spark.createDataFrame(
        [("films", 1, 5, 3), ("books", 1, 9, 9), ("films", 3, 2, 0)],
        "domain string, user_num bigint, num_rated bigint, num_likes bigint",
    )
    users = user_frame(
        to_wanted(spark, [(1, "films"), (2, "films"), (2, "books")]),
        to_sequences(spark, [("time", 1, [5]), ("time", 2, [7])]), to_histories(spark, [("films", 1, [5])]),
        to_user_ids(spark, [("shared", f"u{user}", user) for user in (1, 2, 3)]), targets=[rated, BOOKS],
        max_len=MAX_LEN, num_partitions=2, user_likes=likes,
    )  # fmt: skip
    found = {row[c.USER_ID]: (row["num_likes_1"], row["num_rated_1"]) for row in users.collect()}
    assert found == {"u1": (3, 5), "u2": (0, 0)}
    assert "num_rated_2" not in users.columns
    both = users.unionByName(fallback_user(spark, targets=[rated, BOOKS], max_len=MAX_LEN))
    assert both.where("user_num = 0").first()["num_rated_1"] == 0


def test_one_clock_and_one_target_need_no_grouping_and_give_the_same_rows(spark: SparkSession) -> None:
    wanted = to_wanted(spark, [(1, "films"), (2, "films"), (2, "films"), (3, "films")])
    sequences = to_sequences(spark, [("time", 1, [5, 9]), ("time", 2, [7, 8, 6])])
    histories = to_histories(spark, [("films", 1, [5]), ("books", 1, [9]), ("books", 2, [6, 7]), ("books", 3, [])])
    user_ids = to_user_ids(spark, [("shared", f"u{user}", user) for user in (1, 2, 3)])
    grouped, alone = (
        user_frame(
            wanted, sequences, histories, user_ids,
            targets=[FILMS], max_len=MAX_LEN, num_partitions=2, one_clock=one_clock,
        )
        for one_clock in (False, True)
    )  # fmt: skip
    rows = sorted(alone.collect())
    assert rows == sorted(grouped.collect())
    assert [(row[c.ITEM_NUMS], row["seen_1"]) for row in rows] == [([5, 9, 0], [5]), ([7, 8, 6], []), ([0, 0, 0], [])]
    assert [c.USER_SEGMENTS[row["segment_code_1"]] for row in rows] == [c.WARM, c.COLD_IN_DOMAIN, c.COLD_IN_DOMAIN]
    plan = alone._jdf.queryExecution().executedPlan().toString()
    assert "collect_list" not in plan
    assert "first(" not in plan


def test_an_order_only_target_has_a_row_of_its_own_with_its_own_events(spark: SparkSession) -> None:
    rows = frame_rows(
        spark, [(1, "films"), (1, "games")], [("time", 1, [5, 9]), ("games", 1, [30])],
        [("films", 1, [5, 9]), ("games", 1, [30])], [FILMS, GAMES],
    )  # fmt: skip
    assert [(row[c.ITEM_NUMS], row["wanted_1"], row["wanted_3"]) for row in rows] == [
        ([5, 9, 0], True, False),
        ([30, 0, 0], False, True),
    ]


def test_without_own_events_the_latest_of_the_other_clocks_speak(spark: SparkSession) -> None:
    chess = Target(name="chess", num=5, clock="chess", user_space="shared", exclude_seen=True)
    rows = frame_rows(
        spark, [(1, "chess"), (2, "chess"), (3, "chess")],
        [("time", 1, [5, 9]), ("games", 1, [30, 31]), ("time", 2, [6])], [], [chess],
    )  # fmt: skip
    assert [row[c.ITEM_NUMS] for row in rows] == [[31, 5, 9], [6, 0, 0], [0, 0, 0]]
    assert all(row["seen_5"] == [] and row["wanted_5"] for row in rows)


def test_users_nobody_had_seen_are_not_wanted(spark: SparkSession) -> None:
    truth = spark.createDataFrame(
        [(1, "films", c.WARM), (1, "books", c.COLD_IN_DOMAIN), (2, "films", c.NEW)],
        "user_num bigint, domain string, segment string",
    )
    assert sorted(tuple(row) for row in wanted_by_truth(truth).collect()) == [(1, "books"), (1, "films")]


def test_everyone_known_wants_every_target_of_the_own_user_space(spark: SparkSession) -> None:
    user_ids = to_user_ids(spark, [("shared", "a", 1), ("forum", "a", 2), ("shared", "b", 3), ("shared", "gone", 4)])
    wanted = wanted_by_everyone(
        to_sequences(spark, [("time", 1, [5]), ("posts", 2, [40])]), to_histories(spark, [("films", 3, [5])]), user_ids,
        targets=[FILMS, GAMES, POSTS],
    )  # fmt: skip
    found = sorted((row[c.USER_NUM], row[c.DOMAIN]) for row in wanted.collect())
    assert found == [(1, "films"), (1, "games"), (2, "posts"), (3, "films"), (3, "games")]


def test_pairs_lie_beside_the_row_that_speaks_for_their_domain(spark: SparkSession) -> None:
    user_ids = to_user_ids(spark, [("shared", "u1", 1)])
    pairs = spark.createDataFrame(
        [(1, "films", 8, 0), (1, "films", 7, 1), (1, "games", 30, 1)],
        "user_num bigint, domain string, item_num bigint, label int",
    )
    users = user_frame(
        pairs, to_sequences(spark, [("time", 1, [5])]), to_histories(spark, []), user_ids,
        targets=[FILMS, GAMES], max_len=MAX_LEN, num_partitions=2,
    )  # fmt: skip
    rows = sorted(with_pairs(users, pairs, targets=[FILMS, GAMES]).collect(), key=lambda row: row["wanted_1"])
    games, films = rows
    assert (films["pair_item_nums_1"], films["pair_labels_1"], films["pair_item_nums_3"]) == ([7, 8], [1, 0], None)
    assert (games["pair_item_nums_3"], games["pair_labels_3"], games["pair_item_nums_1"]) == ([30], [1], None)


def test_the_fallback_user_has_no_events_and_wants_every_target(spark: SparkSession) -> None:
    (row,) = fallback_user(spark, targets=[FILMS, GAMES], max_len=MAX_LEN).collect()
    assert row[c.USER_ID] == c.NEW_USER_ID
    assert row[c.ITEM_NUMS] == [0, 0, 0]
    assert row["seen_1"] == []
    assert row["wanted_1"]
    assert row["wanted_3"]
    assert [c.USER_SEGMENTS[row[f"segment_code_{num}"]] for num in (1, 3)] == [c.NEW, c.NEW]


@pytest.mark.parametrize("one_clock", [False, True])
def test_few_users_are_scored_in_as_many_tasks_as_asked_for(spark: SparkSession, one_clock: bool) -> None:
    sequences, histories = to_sequences(spark, [("time", 1, [5])]), to_histories(spark, [("films", 1, [5])])
    user_ids = to_user_ids(spark, [("shared", "u1", 1)])
    num_partitions = int(spark.conf.get("spark.sql.shuffle.partitions", "0"))  # as everywhere but in tests
    users = user_frame(
        wanted_by_everyone(sequences, histories, user_ids, targets=[FILMS]), sequences, histories, user_ids,
        targets=[FILMS], max_len=MAX_LEN, num_partitions=num_partitions, one_clock=one_clock,
    )  # fmt: skip
    assert num_partitions == 2
    assert users.rdd.getNumPartitions() == num_partitions


def test_the_plan_has_no_cross_join_and_shuffles_users_once(spark: SparkSession) -> None:
    users = user_frame(
        to_wanted(spark, [(1, "films")]), to_sequences(spark, [("time", 1, [5])]), to_histories(spark, []),
        to_user_ids(spark, [("shared", "u1", 1)]), targets=[FILMS, BOOKS], max_len=MAX_LEN, num_partitions=3,
    )  # fmt: skip
    plan = users._jdf.queryExecution().executedPlan().toString()
    assert "CartesianProduct" not in plan
    assert "NestedLoop" not in plan
    assert "Window" not in plan
    assert "SinglePartition" not in plan
    assert plan.count("Exchange hashpartitioning(user_num") <= 4
