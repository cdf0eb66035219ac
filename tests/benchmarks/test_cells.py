"""Segments of users' measures, and means whose resamples draw whole users."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality_suites.bootstrap import percentile_interval
from benchmarks.quality_suites.cells import CELL, bootstrap_means, in_segment, to_cells
from tests.benchmarks.made_values import make_values

VALUES = make_values(
    ("m", "a", "ann", "warm", 0.5), ("m", "a", "bob", "cold_in_domain", 0.25), ("m", "a", "cy", "new", 0.0),
    ("m", "a", "ann", "known_items", 1.0), ("m", "a", "bob", "known_items", 0.75),
    ("m", "a", "ann", "cold_items", 0.3), ("m", "b", "ann", "cold_in_domain", 0.1),
    ("m", "b", "ann", "known_items", 0.2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("all", [("a", "ann", 0.5), ("a", "bob", 0.25), ("a", "cy", 0.0), ("b", "ann", 0.1)]),
        ("warm", [("a", "ann", 0.5)]),
        ("known_items", [("a", "ann", 1.0), ("a", "bob", 0.75), ("b", "ann", 0.2)]),
        ("cold_items", [("a", "ann", 0.3)]),
        ("known_items_warm", [("a", "ann", 1.0)]),
        ("known_items_cold_in_domain", [("a", "bob", 0.75), ("b", "ann", 0.2)]),
    ],
)
def test_a_segment_has_its_users_and_its_truth(segment, expected):
    own = in_segment(VALUES, segment)
    assert sorted(zip(own["domain"], own["user_id"], own["value"], strict=True)) == expected


def test_a_segment_that_is_not_stored_is_refused():
    with pytest.raises(ValueError, match="segment 'lukewarm'; expected all, known_items, cold_items, warm"):
        in_segment(VALUES, "lukewarm")


def test_cells_have_a_column_per_model_and_gaps_where_one_was_not_measured():
    values = pd.concat([VALUES, make_values(("other", "a", "ann", "warm", 0.9))])
    cells = to_cells(in_segment(values, "warm"), "ndcg", 10)
    assert cells.loc[("", "a", "ann")].to_dict() == {"m": 0.5, "other": 0.9}
    gaps = to_cells(in_segment(values, "all"), "ndcg", 10)["other"]
    assert gaps.isna().sum() == 3


def simulate(generator, num_users, *, cells_of_a_user=5):
    """Cells of users whose own level moves all of them: mean 1, strongly alike within a user."""
    levels = generator.normal(1.0, 1.0, num_users)
    index = [(str(cut), "a", str(user)) for user in range(num_users) for cut in range(cells_of_a_user)]
    values = np.repeat(levels, cells_of_a_user) + generator.normal(0.0, 0.3, len(index))
    return pd.Series(values, index=pd.MultiIndex.from_tuples(index, names=CELL))


def test_a_user_is_drawn_with_all_cells():
    """The oracle draws users one by one and takes the mean of all their cells."""
    generator = np.random.default_rng(8)
    cells = simulate(generator, 12).drop([("0", "a", "3"), ("1", "a", "3"), ("2", "a", "7")])
    means, drawn = bootstrap_means([cells], samples=4000, seed=9)
    by_user = [own.to_numpy() for _, own in cells.groupby("user_id")]
    slow = [np.concatenate([by_user[user] for user in generator.integers(0, 12, 12)]).mean() for _ in range(4000)]
    assert means[0] == pytest.approx(cells.mean())
    assert drawn[:, 0].std() == pytest.approx(np.std(slow), rel=0.06)
    np.testing.assert_allclose(percentile_interval(drawn[:, 0]), np.percentile(slow, [2.5, 97.5]), atol=0.06)


def test_intervals_over_users_cover_the_truth_and_intervals_over_cells_do_not():
    generator = np.random.default_rng(10)
    hits = {"users": 0, "cells": 0}
    trials = 200
    for trial in range(trials):
        cells = simulate(generator, 60)
        alone = cells.copy()
        alone.index = pd.MultiIndex.from_tuples(
            [("", "a", f"{cut}/{user}") for cut, _, user in cells.index], names=CELL
        )
        for unit, series in (("users", cells), ("cells", alone)):
            _, drawn = bootstrap_means([series], samples=400, seed=trial)
            low, high = percentile_interval(drawn[:, 0])
            hits[unit] += low <= 1.0 <= high
    assert 0.90 <= hits["users"] / trials <= 0.98
    assert hits["cells"] / trials < 0.75


def test_series_share_the_users_that_are_drawn():
    cells = simulate(np.random.default_rng(11), 30)
    _, drawn = bootstrap_means([cells, cells + 0.5], samples=50, seed=12)
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 0.5)
