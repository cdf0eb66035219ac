"""Ranked lists through Spark, against the same brute force for any number of partitions."""

import math
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import commit, new_file
from crossrec_core.frames.lists.recommend import recommend, write_lists
from crossrec_core.frames.lists.user_frame import LISTS, Target, fallback_user, user_frame, wanted_by_everyone
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake import Lake
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.item_names import write_item_names
from crossrec_core.tensors.scoring.list_files import ListsWrite, LoadListWriter
from tests import scoring_world as world
from tests.oracles import best_items, filled_list, transition_scores

pytestmark = pytest.mark.spark

N = 5
TARGETS = [
    Target(name="films", num=1, clock="time", user_space="shared", exclude_seen=True),
    Target(name="books", num=2, clock="time", user_space="shared", exclude_seen=True),
]


def world_frames(spark: SparkSession) -> tuple[DataFrame, DataFrame, DataFrame]:
    """sequences, histories and user_ids of the scoring world; "nothing" has a number and no events."""
    sequences: list[tuple[Any, ...]] = []
    histories: list[tuple[Any, ...]] = []
    for number, (events, films, books) in enumerate(world.USERS.values(), start=1):
        items, domains = [item for item, _ in events], [domain for _, domain in events]
        lists = [world.padded(values) for values in (items, domains, [1] * len(events))]
        if events:
            sequences.append(("time", number, len(events), *lists, lists[2], lists[0]))
        histories += [(name, number, seen) for name, seen in (("films", films), ("books", books)) if seen]
    arrays = ", ".join(f"{name} array<bigint>" for name in LISTS)
    return (
        spark.createDataFrame(sequences, f"clock string, user_num bigint, length bigint, {arrays}"),
        spark.createDataFrame(histories, "domain string, user_num bigint, item_nums array<bigint>"),
        spark.createDataFrame(
            [("shared", name, number) for number, name in enumerate(world.USERS, start=1)],
            "user_space string, user_id string, user_num bigint",
        ),
    )


def users_of(spark: SparkSession, num_partitions: int = 2) -> DataFrame:
    sequences, histories, user_ids = world_frames(spark)
    wanted = wanted_by_everyone(sequences, histories, user_ids, targets=TARGETS)
    users = user_frame(
        wanted, sequences, histories, user_ids,
        targets=TARGETS, max_len=world.MAX_LEN, num_partitions=num_partitions,
    )  # fmt: skip
    return users.unionByName(fallback_user(spark, targets=TARGETS, max_len=world.MAX_LEN))


def written(spark: SparkSession, users: DataFrame, folder: Path, *, batch_users: int) -> DataFrame:
    """The table after the workers wrote the users' lists."""
    lake = Lake(str(folder / "lake"))
    world.write_ids(lake, run_id="r")
    write_item_names(lake, str(folder / "names"))
    write = ListsWrite(
        lake, "w", "r", date(2026, 1, 31), c.SERVE, ("popularity", "markov"), {1: "films", 2: "books"},
        str(folder / "names"),
    )  # fmt: skip
    writer = LoadListWriter(world.write_world(folder), write, Search(N, 5))
    files = [new_file(*row) for row in write_lists(users, writer, batch_users=batch_users).collect()]
    commit(lake, t.RECOMMENDATIONS, files, replace={c.RUN_ID: "r"})
    return read_table(spark, lake, t.RECOMMENDATIONS)


def expected_lists() -> dict[tuple[str, str, str], list[tuple[str, float]]]:
    everyone = {name: user for name, user in world.USERS.items() if user[0]} | {c.NEW_USER_ID: ([], [], [])}
    lists = {}
    for user, (events, films, books) in everyone.items():
        for number, domain, seen in ((1, "films", films), (2, "books", books)):
            scores = transition_scores([item for item, _ in events], world.TRANSITIONS[number], world.DECAY)
            filled = filled_list(scores, world.POPULARITY[number], seen, N)
            lists["markov", user, domain] = [(f"i{item}", score) for item, score in filled]
            same = world.SCORES[number]
            lists["popularity", user, domain] = [(f"i{item}", same[item]) for item in best_items(same, seen, N)]
    return lists


def collected(lists: DataFrame) -> dict[tuple[str, str, str], list[tuple[str, float]]]:
    found: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for row in sorted(lists.collect(), key=lambda row: row[c.RANK]):
        own = found.setdefault((row[c.MODEL], row[c.USER_ID], row[c.DOMAIN]), [])
        assert row[c.RANK] == len(own) + 1
        own.append((row[c.ITEM_ID], row[c.SCORE]))
    return found


@pytest.mark.parametrize(("num_partitions", "batch_users"), [(1, 1000), (2, 2), (7, 1)])
def test_lists_equal_brute_force_for_any_partitions_and_batches(
    spark: SparkSession, tmp_path: Path, num_partitions: int, batch_users: int
) -> None:
    users = users_of(spark, num_partitions)
    assert collected(written(spark, users, tmp_path, batch_users=batch_users)) == expected_lists()


def test_seen_items_never_appear_and_cold_users_get_full_lists_through_the_other_domain(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = written(spark, users_of(spark), tmp_path, batch_users=3).where(f"{c.MODEL} = 'markov'").collect()
    for name, (_, films, books) in world.USERS.items():
        listed = {(row[c.DOMAIN], row[c.ITEM_ID]) for row in rows if row[c.USER_ID] == name}
        seen = {("films", f"i{item}") for item in films} | {("books", f"i{item}") for item in books}
        assert not listed & seen
    paths = [row[c.PATH] for row in rows if row[c.USER_ID] == "films only" and row[c.DOMAIN] == "books"]
    assert sorted(paths) == [c.OTHER_DOMAINS] * 2 + [c.POPULARITY] * 3
    fallback = [row for row in rows if row[c.USER_ID] == c.NEW_USER_ID]
    assert len(fallback) == 2 * N
    assert {row[c.PATH] for row in fallback} == {c.POPULARITY}


def test_the_lists_have_the_columns_of_the_table_and_no_probability_without_a_ranker(
    spark: SparkSession, tmp_path: Path
) -> None:
    lists = written(spark, users_of(spark), tmp_path, batch_users=3)
    assert tuple(lists.columns) == t.RECOMMENDATIONS.column_names
    row = lists.first()
    assert row is not None
    assert row[c.PROBABILITY] is None
    assert (row[c.RUN_ID], row[c.RUN_DATE], row[c.PURPOSE]) == ("r", date(2026, 1, 31), c.SERVE)


def test_a_file_has_whole_users_in_the_order_of_their_ids(spark: SparkSession, tmp_path: Path) -> None:
    lists = written(spark, users_of(spark, 3), tmp_path, batch_users=2).withColumn("file", F.input_file_name())
    by_file: dict[str, list[tuple[str, int]]] = {}
    for row in lists.collect():
        by_file.setdefault(row["file"], []).append((row[c.USER_ID], row[c.RANK]))
    assert len(by_file) > 4
    assert all(keys == sorted(keys) for keys in by_file.values())


def test_a_batch_never_holds_more_users_than_asked_for(spark: SparkSession) -> None:
    users = spark.range(10, numPartitions=1)
    sizes = recommend(users, partial(_sizes), batch_users=4, schema="size int, unused double").collect()
    assert [row["size"] for row in sizes] == [4, 4, 2]


def _sizes() -> Any:
    import pandas as pd

    return lambda frame: pd.DataFrame({"size": [len(frame)], "unused": [math.nan]})
