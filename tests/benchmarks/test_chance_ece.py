import numpy as np
import pytest

from benchmarks.chance_ece import BINS, draw_labels, ece, spread_of_users


def test_ece_is_the_distance_in_every_bin():
    p = np.repeat([0.2, 0.8], 5 * BINS)
    y = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], 2 * BINS)  # one in five everywhere
    assert ece(p, y) == pytest.approx((0.0 + 0.6) / 2, abs=0.03)  # one bin has both


def test_draws_are_calibrated_and_users_differ_as_they_are_told_to():
    generator = np.random.default_rng(1)
    p, users = generator.uniform(0.2, 0.8, 40_000), np.arange(40_000) // 20
    for spread in (0.0, 0.8):
        y = draw_labels(p, users, spread, generator)
        assert y.mean() == pytest.approx(p.mean(), abs=0.02)
        assert ece(p, y) < 0.03
        assert spread_of_users(p, y, users) == pytest.approx(spread, abs=0.15)
