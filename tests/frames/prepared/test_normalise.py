import math

import pytest
from pyspark.sql import functions as F

from crossrec_core.frames.prepared.normalise import (
    fit_statistics,
    split_missing,
    to_numeric_measures,
    to_numerics,
    to_value_measures,
    with_normalised,
)
from tests.frames.made_events import make_events, rows_of

pytestmark = pytest.mark.spark
RULES = {
    "fill": "none", "outliers": "none", "low_quantile": 0.1, "high_quantile": 0.9, "iqr_factor": 1.0, "scaling": "none",
}  # fmt: skip


def measures(spark, values):
    rows = [("a", "t", "x", value) for value in values]
    return spark.createDataFrame(rows, "domain string, table_name string, column_name string, value double")


def statistics(spark, values, **rules):
    fitted = fit_statistics(measures(spark, values), **{**RULES, **rules})
    return {row.statistic: row.value for row in fitted.collect()}


def normalised(spark, values, *, train=None, **rules):
    fitted = fit_statistics(measures(spark, train or values), **{**RULES, **rules})
    return [row.value for row in with_normalised(measures(spark, values).coalesce(1), fitted).collect()]


@pytest.mark.parametrize(
    ("fill", "filled"), [("mean", 3.0), ("median", 2.0), ("mode", 1.0), ("none", None), ("drop", None)]
)
def test_missing_values_are_filled_as_asked(spark, fill, filled):
    values = [1.0, 1.0, 2.0, 2.0, 9.0, None, math.nan]
    assert statistics(spark, values, fill=fill).get("fill") == filled
    assert normalised(spark, values, fill=fill)[-2:] == [filled, filled]


@pytest.mark.parametrize(
    ("outliers", "low", "high"), [("quantile", 1.0, 9.0), ("iqr", 2.5 - 5.0, 7.5 + 5.0), ("none", None, None)]
)
def test_outliers_are_clipped_to_fitted_bounds(spark, outliers, low, high):
    train = [float(value) for value in range(11)]
    found = statistics(spark, train, outliers=outliers)
    assert (found.get("low"), found.get("high")) == (low, high)
    assert normalised(spark, [-99.0, 5.0, 99.0], train=train, outliers=outliers) == [
        -99.0 if low is None else low, 5.0, 99.0 if high is None else high,
    ]  # fmt: skip


def test_scaling_by_table(spark):
    assert normalised(spark, [1.0, 3.0], scaling="standard") == [-1.0, 1.0]
    assert normalised(spark, [1.0, 2.0, 5.0], scaling="minmax") == [0.0, 0.25, 1.0]
    logs = [math.log1p(1.0), math.log1p(3.0)]
    half = (logs[1] - logs[0]) / 2
    assert normalised(spark, [1.0, 3.0], scaling="log1p_standard") == pytest.approx([-1.0, 1.0])
    assert statistics(spark, [1.0, 3.0], scaling="log1p_standard")["scale"] == pytest.approx(half)


def test_a_constant_column_becomes_0_and_unfitted_columns_stay(spark):
    assert normalised(spark, [4.0, 4.0], scaling="standard") == [0.0, 0.0]
    none = fit_statistics(measures(spark, [None]), **RULES)
    assert [row.value for row in with_normalised(measures(spark, [7.0]), none).collect()] == [7.0]


def test_statistics_do_not_change_when_test_rows_change(spark):
    def fitted(test_value):
        rows = [(1, "a", 1, 1, "train"), (1, "a", 2, 2, "train"), (1, "a", 3, 3, "test")]
        value = F.when(F.col("split") == "test", test_value).otherwise(F.col("item_num").cast("double"))
        events = to_value_measures(make_events(spark, rows).withColumn("value", value), domains=["a"])
        rules = {**RULES, "fill": "mean", "outliers": "quantile", "scaling": "standard"}
        train = fit_statistics(events.where("split = 'train'"), **rules)
        return rows_of(train, "statistic", "value", "num_rows")

    assert fitted(1e6) == fitted(-3.0) != []


def test_rows_without_a_value_are_rejected_only_where_the_domain_has_values(spark):
    rows = [("a", "u", "i", "buy", None, 1), ("a", "u", "j", "buy", 2.0, 2), ("b", "u", "k", "buy", None, 3)]
    names = "domain string, user_id string, item_id string, action string, value double, event_order bigint"
    parts = split_missing(spark.createDataFrame(rows, names), domains=["a"])
    assert rows_of(parts.kept, "item_id") == [("j",), ("k",)]
    assert rows_of(parts.rejected, "domain", "reason") == [("a", "missing_value")]
    assert '"item_id":"i"' in parts.rejected.collect()[0].raw_text


def test_item_numerics_go_to_measures_and_back_and_missing_ones_are_filled(spark):
    schema = "domain string, item_num bigint, numerics map<string,double>"
    items = spark.createDataFrame([("a", 1, {"x": 1.0, "y": 5.0}), ("a", 2, {"x": 3.0}), ("b", 3, {"x": 9.0})], schema)
    long = to_numeric_measures(items, columns={"a": ["x", "y"]})
    fitted = fit_statistics(long, **{**RULES, "fill": "mean", "scaling": "minmax"})
    found = {row.item_num: row.numerics for row in to_numerics(with_normalised(long, fitted)).collect()}
    assert found == {1: {"x": 0.0, "y": 0.0}, 2: {"x": 1.0, "y": 0.0}}
