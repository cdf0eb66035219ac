"""Pair weights in Spark against the slow, obvious count of tests/oracles.py."""

import random
from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.floors.transitions import (
    SUMS,
    keep_first_touch,
    keep_latest,
    keep_most_counted,
    to_neighbours,
    to_pair_sums,
    to_transitions,
    with_clock,
)
from tests import oracles
from tests.frames.plans import check_plan

pytestmark = pytest.mark.spark

DOMAINS = ["books", "films"]
SCHEMA = (
    "user_num bigint, domain string, item_num bigint, event_time timestamp, event_order bigint, tie_break bigint, "
    "action_num bigint"
)


def random_events(seed: int = 0, *, num_users: int = 12, num_items: int = 8) -> list[oracles.Event]:
    """Both domains know the items 1 to 8: they share an item space."""
    draw = random.Random(seed)
    return [
        (user, draw.choice(DOMAINS), draw.randint(1, num_items))
        for user in range(1, num_users + 1)
        for _ in range(draw.randint(1, 9))
    ]


def to_frame(spark: SparkSession, events: list[oracles.Event], *, timed: bool = True) -> DataFrame:
    """Two events share each moment; the tie break orders them."""
    moment = datetime(2024, 1, 1, tzinfo=UTC) if timed else None
    rows = [(user, domain, item, moment, place // 2, place % 2, 1) for place, (user, domain, item) in enumerate(events)]
    random.Random(1).shuffle(rows)
    return with_clock(spark.createDataFrame(rows, SCHEMA))


def sums_of(events: DataFrame, *, window: int = 3, across: bool = True, **roles: list[str]) -> DataFrame:
    roles = {"sources": DOMAINS, "targets": DOMAINS, **roles}
    return to_pair_sums(events, window=window, pair_decay=0.7, across=across, **roles)


def read_sums(sums: DataFrame) -> dict[tuple[str, int, int], list[float]]:
    return {
        (row[c.DOMAIN], row[c.ITEM_NUM], row[c.NEXT_ITEM_NUM]): [row[name] for name in SUMS] for row in sums.collect()
    }


def read_weights(rows: DataFrame) -> dict[tuple[str, int, int], float]:
    return {(row[c.DOMAIN], row[c.ITEM_NUM], row[c.NEXT_ITEM_NUM]): row[c.WEIGHT] for row in rows.collect()}


def approx(expected: dict[tuple[str, int, int], list[float]]) -> dict[tuple[str, int, int], object]:
    return {key: pytest.approx(values, abs=1e-8) for key, values in expected.items()}


def test_pair_sums_equal_the_slow_count(spark: SparkSession) -> None:
    events = random_events()
    found = read_sums(sums_of(to_frame(spark, events)))
    assert found == approx(oracles.pair_sums(events, 3, 0.7))


def test_an_order_only_log_has_no_pairs_across_domains(spark: SparkSession) -> None:
    events = random_events(3)
    found = read_sums(sums_of(to_frame(spark, events, timed=False)))
    assert found == approx(oracles.pair_sums(events, 3, 0.7, shared_clock=False))


def test_only_targets_get_candidates_and_only_sources_lend(spark: SparkSession) -> None:
    frame = to_frame(spark, random_events(4))
    found = read_sums(sums_of(frame, sources=["books"], targets=["books"]))
    everything = read_sums(sums_of(frame))
    assert found == {
        key: [*values[:2], 0.0, 0.0] for key, values in everything.items() if key[0] == "books" and any(values[:2])
    }


def test_items_of_one_domain_each_spare_a_shuffle_and_change_no_sum(spark: SparkSession) -> None:
    events = [(user, domain, item + 8 * (domain == "films")) for user, domain, item in random_events(9)]
    frame = to_frame(spark, events)
    kept = {"sources": ["books"], "targets": DOMAINS, "window": 4, "pair_decay": 0.7, "across": True}
    shared, apart = to_pair_sums(frame, **kept), to_pair_sums(frame, **kept, shared_items=False)
    assert read_sums(shared) == read_sums(apart)
    assert len(read_sums(apart)) == apart.count()
    plans = [frame._jdf.queryExecution().executedPlan().toString() for frame in (shared, apart)]
    assert plans[0].count("Exchange hash") > plans[1].count("Exchange hash")


def test_partitions_and_order_of_rows_change_no_bit(spark: SparkSession) -> None:
    frame = to_frame(spark, random_events(5, num_users=40))
    others = frame.repartition(5, c.ITEM_NUM).sortWithinPartitions(c.TIE_BREAK)
    assert read_sums(sums_of(frame)) == read_sums(sums_of(others))


def test_transitions_weigh_the_sums_and_keep_the_strongest(spark: SparkSession) -> None:
    events = random_events(6, num_users=30)
    counts = {item: sum(1 for event in events if event[2] == item) for item in range(1, 9)}
    weights = {
        key: (ahead + 0.4 * behind + 0.3 * (ahead_across + 0.4 * behind_across))
        / (counts[key[1]] ** 0.8 * counts[key[2]] ** 0.2)
        for key, (ahead, behind, ahead_across, behind_across) in oracles.pair_sums(events, 3, 0.7).items()
    }
    sums = sums_of(to_frame(spark, events))
    found = read_weights(to_transitions(sums, backward=0.4, alpha=0.8, cross_domain=0.3, max_neighbours=3))
    assert found == pytest.approx(oracles.strongest(weights, 3), rel=1e-7)


def test_equal_weights_are_kept_by_item_number(spark: SparkSession) -> None:
    events = [(user, "books", item) for user, pair in enumerate([(9, 5), (9, 3), (9, 7)]) for item in pair]
    sums = sums_of(to_frame(spark, events))
    found = read_weights(to_transitions(sums, backward=0.0, alpha=1.0, cross_domain=0.0, max_neighbours=2))
    assert sorted(found) == [("books", 9, 3), ("books", 9, 5)]


def test_the_pairs_counted_most_are_kept_per_item(spark: SparkSession) -> None:
    events = random_events(8, num_users=30)
    totals = {key: sum(values) for key, values in oracles.pair_sums(events, 3, 0.7).items()}
    kept = read_sums(keep_most_counted(sums_of(to_frame(spark, events)), max_pairs=2))
    rounded = {key: round(total, 9) for key, total in totals.items()}
    assert set(kept) == set(oracles.strongest(rounded, 2))


def test_neighbours_are_the_cosine_over_users_with_shrink(spark: SparkSession) -> None:
    events = random_events(7, num_users=30)
    frame = keep_first_touch(to_frame(spark, events))
    sums = to_pair_sums(frame, window=50, pair_decay=1.0, across=True, sources=DOMAINS, targets=DOMAINS)
    found = read_weights(to_neighbours(sums, shrink=2.0, cross_domain=0.5, max_neighbours=100))
    touches = set(events)
    users = {(domain, item): {u for u, d, i in touches if (d, i) == (domain, item)} for _, domain, item in events}
    count = {item: sum(len(users.get((domain, item), ())) for domain in DOMAINS) for item in range(1, 9)}
    expected = {}
    for (domain, item), own in users.items():
        for other_domain, other in users:
            if other != item:
                common = len(own & users[other_domain, other]) * (1.0 if domain == other_domain else 0.5)
                key = (other_domain, item, other)
                share = common / ((count[item] * count[other]) ** 0.5 + 2.0)
                expected[key] = expected.get(key, 0.0) + share
    assert found == pytest.approx({key: weight for key, weight in expected.items() if weight > 0}, rel=1e-7)


def test_the_latest_events_of_each_clock_are_kept(spark: SparkSession) -> None:
    events = [(1, "books", item) for item in (1, 2, 3)] + [(1, "films", item) for item in (4, 5)]
    timed = {row[c.ITEM_NUM] for row in keep_latest(to_frame(spark, events), max_history=2).collect()}
    ordered = {row[c.ITEM_NUM] for row in keep_latest(to_frame(spark, events, timed=False), max_history=2).collect()}
    assert timed == {4, 5}
    assert ordered == {2, 3, 4, 5}


def test_the_plan_has_no_single_partition_window_and_no_cartesian_product(spark: SparkSession) -> None:
    events = keep_latest(to_frame(spark, random_events()), max_history=5)
    check_plan(to_transitions(sums_of(events), backward=0.3, alpha=0.9, cross_domain=0.3, max_neighbours=2))
