"""Popularity, decayed popularity and ALS on small logs."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.floors.baselines import (
    to_decayed_scores,
    to_factors,
    to_item_scores,
    to_map_sums,
    to_ratings,
    with_domain_weights,
)
from tests.frames.plans import check_plan

pytestmark = pytest.mark.spark

SCHEMA = (
    "domain string, user_num bigint, item_num bigint, weight double, event_time timestamp, event_order bigint, "
    "tie_break bigint, action_num bigint"
)
Event = tuple[str, int, int, float, int]  # domain, user, item, weight, day


def to_known(spark: SparkSession, events: list[Event], *, timed: bool = True) -> DataFrame:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = []
    for domain, user, item, weight, day in events:
        moment = start + timedelta(days=day)
        order = round(moment.timestamp() * 1e6) if timed else day
        rows.append((domain, user, item, weight, moment if timed else None, order, 0, 1))
    return spark.createDataFrame(rows, SCHEMA)


def to_candidates(spark: SparkSession, weights: dict[tuple[str, int], float]) -> DataFrame:
    rows = [(domain, item, weight) for (domain, item), weight in weights.items()]
    return spark.createDataFrame(rows, "domain string, item_num bigint, weight double")


def read_scores(scores: DataFrame) -> dict[tuple[str, int], float]:
    return {(row[c.DOMAIN], row[c.ITEM_NUM]): row[c.SCORE] for row in scores.collect()}


def test_popularity_is_the_share_of_the_domains_weight(spark: SparkSession) -> None:
    weights = {("books", 1): 3.0, ("books", 2): 1.0, ("films", 1): 0.0}
    assert read_scores(to_item_scores(to_candidates(spark, weights))) == {
        ("books", 1): 0.75, ("books", 2): 0.25, ("films", 1): 0.0,
    }  # fmt: skip


def test_decayed_popularity_halves_per_half_life(spark: SparkSession) -> None:
    events = [("books", 1, 1, 2.0, 0), ("books", 2, 1, 1.0, 20), ("books", 3, 2, 1.0, 10), ("films", 1, 9, 1.0, 3)]
    candidates = to_candidates(spark, {("books", 1): 0.0, ("books", 2): 0.0, ("books", 3): 0.0, ("films", 9): 0.0})
    found = read_scores(to_decayed_scores(to_known(spark, events), candidates, half_life_days=10.0))
    first, second = 2 / 4 + 1, 1 / 2
    expected = {
        ("books", 1): first / (first + second), ("books", 2): second / (first + second), ("books", 3): 0.0,
        ("films", 9): 1.0,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-9)


def test_order_only_events_age_by_their_users_later_events(spark: SparkSession) -> None:
    events = [("books", 1, 1, 1.0, 10), ("books", 1, 2, 1.0, 11), ("books", 2, 3, 1.0, 900)]
    candidates = to_candidates(spark, {("books", 1): 0.0, ("books", 2): 0.0, ("books", 3): 0.0})
    found = read_scores(to_decayed_scores(to_known(spark, events, timed=False), candidates, half_life_days=1.0))
    assert found == pytest.approx({("books", 1): 0.2, ("books", 2): 0.4, ("books", 3): 0.4}, abs=1e-9)


def test_ratings_sum_over_domains_and_leave_weightless_pairs_out(spark: SparkSession) -> None:
    events = [("books", 1, 1, 0.5, 0), ("films", 1, 1, 2.0, 1), ("books", 2, 1, 0.0, 0)]
    rows = to_ratings(to_known(spark, events)).collect()
    assert [tuple(row) for row in rows] == [(1, 1, 2.5)]


def parity_events() -> list[Event]:
    """Even users like even items, odd users odd ones; user k never touched item k."""
    return [
        ("books", user, item, 1.0, 0)
        for user in range(1, 13)
        for item in range(1, 13)
        if user % 2 == item % 2 and user != item
    ]


def test_als_repeats_bit_for_bit_and_finds_who_likes_what(spark: SparkSession) -> None:
    ratings = to_ratings(to_known(spark, parity_events()))
    options = {"rank": 2, "iterations": 3, "regularisation": 0.05, "alpha": 10.0, "seed": 3}
    first = {row[c.ITEM_NUM]: row[c.VECTOR] for row in to_factors(ratings, **options).items.collect()}
    other_order = ratings.repartition(3, c.ITEM_NUM)
    second = {row[c.ITEM_NUM]: row[c.VECTOR] for row in to_factors(other_order, **options).items.collect()}
    assert first == second
    vectors = np.array([first[item] for item in range(1, 13)])
    likeness, parity = vectors @ vectors.T, np.arange(12) % 2
    is_alike = parity[:, None] == parity[None, :]
    assert likeness[is_alike].min() > likeness[~is_alike].max()


def test_domains_count_by_their_weights_and_weight_zero_leaves_one_out(spark: SparkSession) -> None:
    events = [("books", 1, 1, 2.0, 0), ("films", 1, 1, 3.0, 1), ("films", 2, 9, 1.0, 0)]
    known = to_known(spark, events)
    mixed = to_ratings(with_domain_weights(known, domain="books", own=1.0, other=0.5))
    assert sorted(tuple(row) for row in mixed.collect()) == [(1, 1, 3.5), (2, 9, 0.5)]
    alone = to_ratings(with_domain_weights(known, domain="books", own=1.0, other=0.0))
    assert [tuple(row) for row in alone.collect()] == [(1, 1, 2.0)]


def test_map_sums_weigh_shared_users_by_their_ratings_and_repeat_bit_for_bit(spark: SparkSession) -> None:
    generator = np.random.default_rng(0)
    source, target = ({user: generator.normal(size=3) for user in users} for users in (range(1, 30), range(10, 50)))
    ratings = [(user, item, 1.0) for user in target for item in range(user % 4 + 1)]
    found = []
    for partitions in (1, 5):
        frames = [
            spark.createDataFrame(
                [(user, vector.tolist()) for user, vector in own.items()], "user_num bigint, vector array<double>"
            ).repartition(partitions)
            for own in (source, target)
        ]
        counted = spark.createDataFrame(ratings, "user_num int, item_num int, weight double")
        found.append(sum(np.array(row["sums"]) for row in to_map_sums(*frames, counted).collect()))
    left, right = np.zeros((3, 3)), np.zeros((3, 3))
    for user in range(10, 30):
        left += (user % 4 + 1) * np.outer(source[user], source[user])
        right += (user % 4 + 1) * np.outer(source[user], target[user])
    assert found[0] == pytest.approx(np.concatenate([left.ravel(), right.ravel()]))
    assert (found[0] == found[1]).all()


def test_the_plans_have_no_single_partition_window_and_no_cartesian_product(spark: SparkSession) -> None:
    known = to_known(spark, [("books", 1, 1, 1.0, 0)])
    candidates = to_candidates(spark, {("books", 1): 1.0})
    check_plan(to_item_scores(candidates))
    check_plan(to_decayed_scores(known, candidates, half_life_days=1.0))
