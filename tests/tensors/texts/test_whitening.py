import pickle

import numpy as np
import pytest

from crossrec_core.errors import CheckpointError, CrossRecError
from crossrec_core.tensors.texts.whitening import (
    Edges,
    LoadWhitening,
    decorrelate,
    fit_whitening,
    load_whitening,
    save_whitening,
    whiten,
)


def raw_vectors(num_rows=300, width=12, *, seed=0):
    """Correlated vectors around one strong common direction, as language models give."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num_rows, width)) @ rng.normal(size=(width, width)) + 5.0).astype(np.float32)


def test_fitted_rows_have_mean_zero_and_covariance_one():
    raw_NW = raw_vectors()
    vectors_NK = decorrelate(fit_whitening(raw_NW, dimensions=8), raw_NW)
    assert vectors_NK.shape == (300, 8)
    np.testing.assert_allclose(vectors_NK.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(vectors_NK.T, bias=True), np.eye(8), atol=1e-3)


def test_vectors_that_all_look_alike_no_longer_do():
    raw_NW = raw_vectors()
    unit_NW = raw_NW / np.linalg.norm(raw_NW, axis=1, keepdims=True)
    vectors_NK = whiten(fit_whitening(raw_NW, dimensions=8), raw_NW)
    assert (unit_NW @ unit_NW.T).mean() > 0.5
    assert abs((vectors_NK @ vectors_NK.T).mean()) < 0.02


def test_vectors_have_unit_length_and_an_item_without_one_the_zero_vector():
    raw_NW = raw_vectors()
    raw_NW[3] = 0
    whitening = fit_whitening(raw_NW, dimensions=8)
    lengths_N = np.linalg.norm(whiten(whitening, raw_NW), axis=1)
    assert lengths_N[3] == 0
    assert np.delete(lengths_N, 3) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(
        whitening.map_WK, fit_whitening(np.delete(raw_NW, 3, axis=0), dimensions=8).map_WK, rtol=1e-4, atol=1e-5
    )


def test_the_length_of_a_raw_vector_does_not_matter():
    raw_NW = raw_vectors()
    whitening = fit_whitening(raw_NW, dimensions=8)
    np.testing.assert_allclose(whiten(whitening, 7 * raw_NW), whiten(whitening, raw_NW), atol=1e-5)


def test_narrow_vectors_fill_the_first_dimensions_and_leave_the_rest_zero():
    vectors_NK = whiten(fit_whitening(raw_vectors(width=3), dimensions=5), raw_vectors(width=3))
    assert vectors_NK.shape == (300, 5)
    assert vectors_NK[:, :3].any(axis=0).all()
    assert not vectors_NK[:, 3:].any()


def test_vectors_that_are_all_the_same_are_one_line():
    with pytest.raises(CrossRecError, match=r"4 training items .* all alike.*text\.dimensions = 0"):
        fit_whitening(np.ones((4, 3), np.float32), dimensions=2)


def test_a_saved_whitening_gives_the_same_vectors(tmp_path):
    raw_NW, path = raw_vectors(), str(tmp_path / "whitening")
    whitening = fit_whitening(raw_NW, dimensions=8)
    save_whitening(path, whitening)
    assert np.array_equal(whiten(load_whitening(path), raw_NW), whiten(whitening, raw_NW))
    assert np.array_equal(pickle.loads(pickle.dumps(LoadWhitening(path)))()(raw_NW), whiten(whitening, raw_NW))
    with pytest.raises(CheckpointError):
        load_whitening(str(tmp_path / "nothing"))


def neighbours_by_first_direction():
    """Rows on a grid of two directions; rows that follow each other agree in the narrow one and differ in the wide."""
    rng = np.random.default_rng(3)
    kind_N = np.arange(200) % 2 * 2.0 - 1
    raw_NW = np.stack((3 * rng.normal(size=200), kind_N, np.full(200, 10.0)), axis=1)
    order_N = np.lexsort((rng.random(200), kind_N))
    return raw_NW, kind_N, Edges(order_N[:-1], order_N[1:], np.ones(199))


def test_rec_pca_keeps_the_direction_in_which_followers_agree():
    raw_NW, kind_N, edges = neighbours_by_first_direction()
    plain = whiten(fit_whitening(raw_NW, dimensions=1), raw_NW)[:, 0]
    penalised = whiten(fit_whitening(raw_NW, dimensions=1, edges=edges, gamma=5.0), raw_NW)[:, 0]
    assert abs(np.corrcoef(plain, kind_N)[0, 1]) < 0.2
    assert abs(np.corrcoef(penalised, kind_N)[0, 1]) > 0.9


def test_rec_pca_equals_the_laplacian_written_out():
    raw_NW, _, edges = neighbours_by_first_direction()
    unit_NW = raw_NW / np.linalg.norm(raw_NW, axis=1, keepdims=True)
    x_NW = unit_NW - unit_NW.mean(axis=0)
    adjacency = np.zeros((200, 200))
    for left, right, weight in zip(edges.left_P, edges.right_P, edges.weight_P, strict=True):
        adjacency[left, right] += weight
        adjacency[right, left] += weight
    laplacian = (np.diag(adjacency.sum(axis=0)) - adjacency) / adjacency.sum(axis=0).mean()
    _, axes = np.linalg.eigh(x_NW.T @ x_NW - 0.7 * x_NW.T @ laplacian @ x_NW)
    found = fit_whitening(raw_NW, dimensions=1, edges=edges, gamma=0.7).map_WK[:, 0]
    assert abs(found @ axes[:, -1]) / np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_gamma_zero_is_plain_whitening():
    raw_NW, _, edges = neighbours_by_first_direction()
    plain, off = fit_whitening(raw_NW, dimensions=2), fit_whitening(raw_NW, dimensions=2, edges=edges, gamma=0.0)
    assert np.array_equal(plain.map_WK, off.map_WK)
