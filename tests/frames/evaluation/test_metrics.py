"""Ranking metrics per user, with expected values as arithmetic, and the shape of the plans."""

from math import log2

import pytest
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.click_metrics import to_atoms, to_click_sums, to_thresholds
from crossrec_core.frames.evaluation.intervals import to_bucket_sums
from crossrec_core.frames.evaluation.metrics import ranking_measures, to_user_metrics, to_user_values
from crossrec_core.frames.spark.session import hashed_joins
from tests.frames.plans import nodes

pytestmark = pytest.mark.spark

LISTS = (2, 4)
LISTED = "purpose string, model string, domain string, user_id string, item_id string, rank int"
HELD_OUT = (
    "purpose string, domain string, user_id string, item_id string, segment string, is_known_item boolean, "
    "is_head boolean"
)


@pytest.fixture(scope="module")
def recommendations(spark: SparkSession) -> DataFrame:
    lists = {"u": "abcd", "w": "wxyz", c.NEW_USER_ID: "nabc"}
    rows = [
        (c.BACKTEST, "markov", "films", user, item, rank)
        for user, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    return spark.createDataFrame(rows, LISTED)


@pytest.fixture(scope="module")
def truth(spark: SparkSession) -> DataFrame:
    rows = [
        ("u", "b", c.WARM, True, True), ("u", "c", c.WARM, True, False), ("u", "q", c.WARM, False, False),
        ("v", "a", c.COLD_IN_DOMAIN, True, False), ("s", "a", c.NEW, True, True),
    ]  # fmt: skip
    return spark.createDataFrame([(c.BACKTEST, "films", *row) for row in rows], HELD_OUT)


@pytest.fixture(scope="module")
def value(recommendations: DataFrame, truth: DataFrame) -> dict[tuple[str, str, str, int], float]:
    values = to_user_values(recommendations, truth, lists=LISTS)
    rows = to_user_metrics(values, lists=LISTS, keep=LISTS).collect()
    return {(row[c.USER_ID], row[c.SEGMENT], row[c.METRIC], row[c.N]): row["value"] for row in rows}


def test_hits_at_ranks_2_and_3_of_three_held_out_items(value: dict[tuple[str, str, str, int], float]) -> None:
    seen = {metric: value["u", c.WARM, metric, 4] for metric, n in ranking_measures(LISTS) if n == 4}
    assert seen == pytest.approx(
        {
            "recall": 2 / 3,
            "precision": 2 / 4,
            "hr": 1.0,
            "ndcg": (1 / log2(3) + 1 / log2(4)) / (1 / log2(2) + 1 / log2(3) + 1 / log2(4)),
            "map": (1 / 2 + 2 / 3) / 3,
            "mrr": 1 / 2,
        }
    )


def test_a_short_list_can_reach_no_more_than_its_length(value: dict[tuple[str, str, str, int], float]) -> None:
    assert value["u", c.WARM, "map", 2] == pytest.approx((1 / 2) / 2)
    assert value["u", c.WARM, "ndcg", 2] == pytest.approx((1 / log2(3)) / (1 / log2(2) + 1 / log2(3)))


def test_truth_restricted_to_a_kind_of_item_has_its_own_denominator(
    value: dict[tuple[str, str, str, int], float],
) -> None:
    kinds = (c.KNOWN_ITEMS, c.HEAD_ITEMS, c.TAIL_ITEMS, c.COLD_ITEMS)
    assert [value["u", kind, "recall", 2] for kind in kinds] == [1 / 2, 1.0, 0.0, 0.0]


def test_cold_items_are_what_known_items_leave_out(recommendations: DataFrame, truth: DataFrame) -> None:
    found = to_user_values(recommendations.replace("d", "q"), truth, lists=[4]).where(f"items = '{c.COLD_ITEMS}'")
    assert [(row[c.USER_ID], row["values"][0]) for row in found.collect()] == [("u", 1.0)]


def test_a_user_without_a_list_counts_as_zero(value: dict[tuple[str, str, str, int], float]) -> None:
    assert {metric: value["v", c.COLD_IN_DOMAIN, metric, 4] for metric, _ in ranking_measures([4])} == {
        metric: 0.0 for metric, _ in ranking_measures([4])
    }


def test_a_user_without_truth_of_a_kind_drops_out_of_it(value: dict[tuple[str, str, str, int], float]) -> None:
    assert ("v", c.HEAD_ITEMS, "recall", 4) not in value
    assert "w" not in {user for user, *_ in value}


def test_a_user_nobody_has_seen_gets_the_reserved_list(value: dict[tuple[str, str, str, int], float]) -> None:
    assert value["s", c.NEW, "mrr", 4] == 1 / 2


def test_plans_hold_no_cartesian_product_and_no_window_over_everything(
    spark: SparkSession, recommendations: DataFrame, truth: DataFrame
) -> None:
    pairs = spark.createDataFrame(
        [(c.BACKTEST, "markov", "films", "u", 1, 0.5)],
        "purpose string, model string, domain string, user_id string, label int, probability double",
    )
    atoms = to_atoms(pairs, num_buckets=9, seed=1)
    frames = [
        to_bucket_sums(to_user_values(recommendations, truth, lists=LISTS), num_measures=12, num_buckets=9, seed=1),
        to_click_sums(atoms, to_thresholds(atoms)),
    ]
    for frame in frames:
        plan = frame._jdf.queryExecution().executedPlan().toString()
        assert "Aggregate" in plan
        for bad in ("CartesianProduct", "NestedLoopJoin", "SinglePartition", "PythonUDF", "MapInPandas"):
            assert bad not in plan


def test_many_lists_are_looked_up_and_never_sorted(
    spark: SparkSession, recommendations: DataFrame, truth: DataFrame
) -> None:
    threshold = "spark.sql.autoBroadcastJoinThreshold"
    before = spark.conf.get(threshold)
    spark.conf.set(threshold, "-1")  # as if held-out items were too many to broadcast
    try:
        frame = to_user_values(recommendations, truth, lists=LISTS)
        with hashed_joins(spark):
            frame.collect()
        joins = [node.getClass().getSimpleName() for node in nodes(frame._jdf.queryExecution().executedPlan())]
    finally:
        spark.conf.set(threshold, before)
    assert "ShuffledHashJoinExec" in joins
    assert "SortMergeJoinExec" not in joins
