"""Bootstrap over buckets: exact values, honest widths, pairs that share their resamples."""

import numpy as np
import pandas as pd
import pytest

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.intervals import STANDARD_ERROR, Comparison, intervals_of, means, resample

RECALL = ("recall", 10)
PAIR = Comparison((("transferred", "markov"),), (RECALL,))


def bucket_rows(model: str, values: np.ndarray, num_buckets: int) -> pd.DataFrame:
    """One row per bucket of sums [value, count]; user k falls into bucket k modulo ``num_buckets``."""
    buckets = np.arange(len(values)) % num_buckets
    sums = [[float(values[buckets == b].sum()), float((buckets == b).sum())] for b in range(num_buckets)]
    users = [int((buckets == b).sum()) for b in range(num_buckets)]
    return pd.DataFrame({c.MODEL: model, "bucket": range(num_buckets), "sums": sums, c.NUM_USERS: users})


def measured(rows: pd.DataFrame, comparison: Comparison = PAIR, samples: int = 2000) -> pd.DataFrame:
    weights = resample("key", num_buckets=rows["bucket"].nunique(), samples=samples, seed=3)
    return intervals_of(rows, (RECALL,), means, weights, comparison)


def test_the_value_is_the_mean_over_all_users() -> None:
    values = np.random.default_rng(0).random(500)
    (row,) = measured(bucket_rows("markov", values, 100)).itertuples()
    assert row.value == pytest.approx(values.mean(), abs=1e-12)
    assert row.num_users == 500


@pytest.mark.parametrize("num_buckets", [100, 2000])
def test_the_interval_is_as_wide_as_the_normal_one(num_buckets: int) -> None:
    values = np.random.default_rng(0).random(2000)
    (row,) = measured(bucket_rows("markov", values, num_buckets)).itertuples()
    expected = values.std() / np.sqrt(len(values))
    assert row.standard_error == pytest.approx(expected, rel=0.2)
    assert row.ci_high - row.ci_low == pytest.approx(2 * 1.96 * expected, rel=0.2)
    assert row.ci_low < row.value < row.ci_high


def test_a_pair_is_narrower_than_its_models_because_it_shares_users() -> None:
    values = np.random.default_rng(0).random(500)
    rows = pd.concat([bucket_rows("markov", values, 50), bucket_rows("transferred", values + 0.125, 50)])
    found = measured(rows)
    (pair,) = found[found[c.BASELINE].notna()].itertuples()
    assert pair.difference == pytest.approx(0.125)
    assert pair.ci_high - pair.ci_low == pytest.approx(0, abs=1e-9)
    assert (found[found[c.BASELINE].isna()][STANDARD_ERROR] > 0.001).all()


def test_rows_of_one_model_and_bucket_add_up() -> None:
    values = np.arange(20.0)
    twice = pd.concat([bucket_rows("markov", values, 5), bucket_rows("markov", values + 1, 5)])
    (row,) = measured(twice).itertuples()
    assert (row.value, row.num_users) == (pytest.approx((9.5 + 10.5) / 2), 40)


def test_a_pair_without_both_models_is_left_out() -> None:
    assert measured(bucket_rows("transferred", np.ones(9), 3))[c.BASELINE].isna().all()


def test_a_measure_that_nobody_has_is_undefined() -> None:
    weights = resample("key", num_buckets=2, samples=10, seed=3)
    rows = pd.DataFrame({c.MODEL: "m", "bucket": [0, 1], "sums": [[0.0, 0.0], [0.0, 0.0]], c.NUM_USERS: [1, 1]})
    (row,) = intervals_of(rows, (RECALL,), means, weights, Comparison()).itertuples()
    assert np.isnan([row.value, row.ci_low, row.ci_high]).all()


def test_resamples_follow_the_key_and_the_seed() -> None:
    drawn = resample("films/all", num_buckets=9, samples=5, seed=1)
    assert (drawn.sum(axis=1) == 9).all()
    assert (drawn == resample("films/all", num_buckets=9, samples=5, seed=1)).all()
    assert (drawn != resample("books/all", num_buckets=9, samples=5, seed=1)).any()
    assert (drawn != resample("films/all", num_buckets=9, samples=5, seed=2)).any()
