"""Statistics over users: against hand-computed values, a slow oracle, another library, and simulated truths."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from benchmarks.quality_suites.bootstrap import holm, holm_levels, p_value, percentile_interval, resample_sums


def test_holm_equals_the_hand_computed_values():
    # 4 x .005, 3 x .01, 2 x .03, and 1 x .04 raised to the one before
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.6])), [1.0, 1.0])


def test_holms_levels_say_what_holms_p_values_say():
    np.testing.assert_allclose(holm_levels(np.array([0.01, 0.04, 0.03, 0.005])), [0.05 / 3, 0.025, 0.025, 0.0125])
    generator = np.random.default_rng(3)
    for _ in range(200):
        p_values = generator.beta(0.3, 3, size=generator.integers(1, 12))
        np.testing.assert_array_equal(p_values <= holm_levels(p_values), holm(p_values) <= 0.05)


def test_an_interval_leaves_zero_out_exactly_where_its_p_value_is_below_the_level():
    generator = np.random.default_rng(4)
    for shift in np.linspace(-4, 4, 41):
        drawn = generator.normal(shift, 1, 2000)
        low, high = percentile_interval(drawn, level=0.02)
        if abs(p_value(drawn) - 0.02) > 0.002:  # at the border the two count the last resample differently
            assert (low > 0 or high < 0) == (p_value(drawn) < 0.02)


def test_p_values_are_two_sided_and_never_zero():
    assert p_value(np.full(999, 1.0)) == 2 / 1000
    assert p_value(np.full(999, -1.0)) == 2 / 1000
    assert p_value(np.array([-1.0, 1.0, -2.0, 2.0])) == 1.0
    assert p_value(np.array([-1.0] + [1.0] * 98)) == 2 * 2 / 100


def test_resampled_sums_are_those_of_users_drawn_one_by_one(monkeypatch):
    sums = np.random.default_rng(0).integers(0, 5, (7, 3)).astype(float)
    drawn = resample_sums(sums, samples=600, seed=1)
    generator = np.random.default_rng(1)
    rows = [generator.integers(0, 7, (250, 7)), generator.integers(0, 7, (250, 7)), generator.integers(0, 7, (100, 7))]
    slow = [sum(sums[user] for user in users) for part in rows for users in part]
    np.testing.assert_array_equal(drawn, slow)


def test_the_interval_of_a_paired_difference_agrees_with_scipys():
    generator = np.random.default_rng(5)
    left, right = generator.gamma(1.0, 1.0, 300), generator.gamma(1.0, 0.9, 300)
    drawn = resample_sums(np.stack([left, right], axis=1), samples=20_000, seed=6)
    low, high = percentile_interval((drawn[:, 0] - drawn[:, 1]) / 300)
    other = bootstrap(
        (left, right), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True, vectorized=True, n_resamples=20_000, method="percentile", rng=7,
    ).confidence_interval  # fmt: skip
    width = high - low
    assert low == pytest.approx(other.low, abs=0.03 * width)
    assert high == pytest.approx(other.high, abs=0.03 * width)
