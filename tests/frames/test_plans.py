import pytest
from pyspark.sql import functions as F
from pyspark.sql.window import Window as W

from tests.frames.plans import check_plan

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("keys", [[], ["one"]], ids=["no key", "a constant key"])
@pytest.mark.parametrize("num_partitions", [1, 3])
def test_window_over_a_single_partition_is_found(spark, keys, num_partitions):
    ids = spark.range(0, 10, 1, num_partitions).withColumn("one", F.lit(1))
    numbered = ids.withColumn("n", F.row_number().over(W.partitionBy(*keys).orderBy("id")))
    with pytest.raises(AssertionError, match="single partition"):
        check_plan(numbered)


def test_window_below_a_cache_is_found(spark):
    numbered = spark.range(10).withColumn("n", F.row_number().over(W.orderBy("id"))).persist()
    with pytest.raises(AssertionError, match="single partition"):
        check_plan(numbered.where("n > 2"))
    numbered.unpersist()


def test_join_without_keys_is_found(spark):
    left, right = spark.range(10), spark.range(10).withColumnRenamed("id", "other")
    with pytest.raises(AssertionError, match=r"NestedLoop|Cartesian"):
        check_plan(left.join(right, F.col("id") < F.col("other"), how="left"))
    with pytest.raises(AssertionError, match=r"NestedLoop|Cartesian"):
        check_plan(left.hint("shuffle_replicate_nl").crossJoin(right))


def test_plans_that_scale_pass_before_and_after_they_ran(spark):
    by_id = W.partitionBy("id").orderBy("id")
    fine = spark.range(10).withColumn("n", F.row_number().over(by_id)).join(spark.range(5), on="id", how="inner")
    total = fine.groupBy().agg(F.sum("n"))  # one row over one partition, but no window
    for frame in (fine, total):
        check_plan(frame)
        frame.collect()
        check_plan(frame)
