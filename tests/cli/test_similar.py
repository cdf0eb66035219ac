"""Nearest items by cosine."""

import numpy as np

from crossrec_core.cli.similar import nearest


def test_nearest_is_by_angle_without_the_item_itself_and_ties_go_to_the_lower_number() -> None:
    items_V = np.array([3, 5, 8, 9, 12])
    vectors_VD = np.array([[1, 0], [5, 5], [0, 0], [2, 2], [0, -1]], dtype=np.float32)
    found = nearest(items_V, vectors_VD, 3, n=3)
    assert [item for item, _ in found] == [5, 9, 8]
    np.testing.assert_allclose([score for _, score in found], [0.5**0.5, 0.5**0.5, 0.0], rtol=1e-6)


def test_an_item_that_is_no_candidate_has_no_neighbours() -> None:
    items_V, vectors_VD = np.array([3, 5]), np.eye(2, dtype=np.float32)
    assert nearest(items_V, vectors_VD, 4, n=2) == []
    assert nearest(items_V, vectors_VD, 6, n=2) == []
