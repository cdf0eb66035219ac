import numpy as np
import pytest

from crossrec_core.frames.items.pca import fit_components, to_component_measures

pytestmark = pytest.mark.spark
SCHEMA = "domain string, item_num bigint, table_name string, column_name string, value double"


def measures(spark, block_ND):
    rows = [
        ("a", item, "t", f"x{column}", float(value))
        for item, row in enumerate(block_ND, 1)
        for column, value in enumerate(row)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def test_components_equal_those_of_a_plain_svd(spark):
    block_ND = np.random.default_rng(3).normal(size=(40, 4)) @ np.diag([5.0, 3.0, 1.0, 0.5])
    long = measures(spark, block_ND)
    found = to_component_measures(long, fit_components(long, dimensions=2)).collect()
    scores_NK = np.zeros((40, 2))
    for row in found:
        scores_NK[row.item_num - 1, int(row.column_name.removeprefix("pca_")) - 1] = row.value
    left, sizes, _ = np.linalg.svd(block_ND - block_ND.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(scores_NK), np.abs(left[:, :2] * sizes[:2]), atol=1e-9)


def test_a_component_has_its_largest_weight_positive_and_no_more_come_than_columns(spark):
    fitted = fit_components(measures(spark, [[1.0, -2.0], [2.0, -4.0], [4.0, -8.0]]), dimensions=5).collect()
    first = {row.column_name: row.value for row in fitted if row.statistic == "pca:1"}
    assert first == pytest.approx({"x0": -1 / 5**0.5, "x1": 2 / 5**0.5})
    assert {row.statistic for row in fitted} == {"pca_mean", "pca:1", "pca:2"}
