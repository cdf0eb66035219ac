"""Diversity, with the angle between two items as the expected value; the rest: tests/jobs/test_evaluate.py."""

from math import cos, pi, sin

import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.catalogue_metrics import (
    MAX_DIVERSITY_USERS,
    keep_sampled_users,
    to_diversity,
    to_novelty,
)
from crossrec_core.frames.evaluation.metrics import VALUES

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def places(spark: SparkSession) -> DataFrame:
    rows = [
        (c.BACKTEST, "markov", "films", user, rank, num, float(num))
        for user, items in (("u", (1, 2, 3)), ("v", (3, 1)))
        for rank, num in enumerate(items, start=1)
    ]
    return spark.createDataFrame(
        rows, "purpose string, model string, domain string, user_id string, rank int, item_num bigint, surprise double"
    )


def test_two_items_60_degrees_apart_have_a_diversity_of_a_half(spark: SparkSession, places: DataFrame) -> None:
    vectors = spark.createDataFrame(
        [(1, [1.0, 0.0]), (2, [cos(pi / 3), sin(pi / 3)])], "item_num bigint, vector array<float>"
    )
    rows = to_diversity(places, vectors).collect()
    # the other list has one item with a vector, which makes no pair
    assert {row[c.USER_ID]: row[VALUES] for row in rows} == {"u": [pytest.approx(1 - cos(pi / 3), abs=1e-6)]}


def test_novelty_is_the_mean_of_the_first_places(places: DataFrame) -> None:
    rows = to_novelty(places, lists=[1, 2]).collect()
    assert {row[c.USER_ID]: row[VALUES] for row in rows} == {"u": [1.0, (1 + 2) / 2], "v": [3.0, (3 + 1) / 2]}


def test_few_users_are_all_kept_and_of_many_a_share(spark: SparkSession) -> None:
    users = spark.range(4000).selectExpr("cast(id AS string) AS user_id")
    assert keep_sampled_users(users, num_users=MAX_DIVERSITY_USERS, seed=1).count() == 4000
    assert keep_sampled_users(users, num_users=4 * MAX_DIVERSITY_USERS, seed=1).count() == pytest.approx(1000, rel=0.15)
