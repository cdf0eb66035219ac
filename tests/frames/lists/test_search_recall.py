"""The recall of a search, and whom it is measured on."""

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core.frames.lists.search_recall import COMPARED, sample_users, search_recall

pytestmark = pytest.mark.spark


def test_the_recall_of_a_model_and_domain_is_the_mean_over_its_users(spark: SparkSession) -> None:
    rows = [("u", 0, 1, 50, 50), ("v", 0, 1, 50, 49), ("w", 0, 1, 2, 1), ("u", 0, 2, 4, 3), ("u", 1, 1, 8, 8)]
    found = {
        (row[c.MODEL_INDEX], row[c.DOMAIN_NUM]): (row["recall"], row["worst_recall"], row[c.NUM_USERS])
        for row in search_recall(spark.createDataFrame(rows, COMPARED)).collect()
    }
    assert found == {
        (0, 1): (pytest.approx((50 / 50 + 49 / 50 + 1 / 2) / 3), 1 / 2, 3),
        (0, 2): (3 / 4, 3 / 4, 1),
        (1, 1): (1, 1, 1),
    }


def test_a_seed_draws_the_same_users_from_any_order_and_another_one_others(spark: SparkSession) -> None:
    users = spark.createDataFrame([(f"u{number}",) for number in range(200)], f"{c.USER_ID} string")

    def draw(seed: int, *, partitions: int) -> set[str]:
        sample = sample_users(users.repartition(partitions), size=20, seed=seed)
        return {row[c.USER_ID] for row in sample.collect()}

    assert len(draw(1, partitions=2)) == 20
    assert draw(1, partitions=2) == draw(1, partitions=5)
    assert draw(1, partitions=2) != draw(2, partitions=2)
