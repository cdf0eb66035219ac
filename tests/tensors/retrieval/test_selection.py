"""The compiled selection on rows wide enough for its strides and its first bar."""

import numpy as np
import pytest
import torch

from crossrec_core.tensors.retrieval.selection import NO_SUM, STRIDE, nothing_yet, offer, offer_sums, ranked, unranked

WIDTH = 80 * STRIDE + 7


def by_sort(scores_BV: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    order_BN = np.argsort(-scores_BV, axis=1, kind="stable")[:, :n]
    best_BN = np.take_along_axis(scores_BV, order_BN, axis=1)
    return np.where(np.isneginf(best_BN), -1, order_BN), best_BN


def draw(levels: int, *, seed: int, hidden: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    scores_BV = generator.integers(0, levels, (6, WIDTH)).astype(np.float32)
    return np.where(generator.random(scores_BV.shape) < hidden, -np.inf, scores_BV).astype(np.float32)


@pytest.mark.parametrize("n", [1, 5, 50, 600])
@pytest.mark.parametrize("levels", [1, 3, 100, 10**7])
@pytest.mark.parametrize("hidden", [0.0, 0.5, 0.99])
def test_the_best_of_blocks_are_those_of_a_stable_sort(n: int, levels: int, hidden: float) -> None:
    scores_BV = draw(levels, seed=n + levels, hidden=hidden)
    for block in (WIDTH, 1000, STRIDE, STRIDE - 1):
        best = nothing_yet(len(scores_BV), n)
        for lo in range(0, WIDTH, block):
            assert offer(best, np.ascontiguousarray(scores_BV[:, lo : lo + block]), lo)
        expected = by_sort(scores_BV, n)
        for found, wanted in zip(ranked(best), expected, strict=True):
            assert np.array_equal(found, wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, STRIDE + 1, WIDTH - 1])
@pytest.mark.parametrize("is_full", [False, True])
def test_what_is_no_number_is_found_wherever_it_lies(bad: float, column: int, is_full: bool) -> None:
    scores_BV, best = draw(100, seed=1), nothing_yet(6, 5)
    assert not is_full or offer(best, scores_BV, 0)
    scores_BV[3, column] = bad
    assert not offer(best, scores_BV, WIDTH)


def test_a_row_that_only_rises_and_one_that_only_falls() -> None:
    rising_V = np.arange(WIDTH, dtype=np.float32)
    scores_BV = np.stack([rising_V, rising_V[::-1]])
    best = nothing_yet(2, 50)
    assert offer(best, scores_BV, 100)
    positions_BN, _ = ranked(best)
    assert positions_BN[0].tolist() == list(range(WIDTH + 99, WIDTH + 49, -1))
    assert positions_BN[1].tolist() == list(range(100, 150))


def test_zeros_are_equal_whatever_their_sign() -> None:
    scores_BV, best = np.full((2, WIDTH), -0.0, dtype=np.float32), nothing_yet(2, 50)
    scores_BV[0, 1::2] = 0.0
    scores_BV[1, ::2] = 0.0
    assert offer(best, scores_BV, 0)
    positions_BN, _ = ranked(best)
    assert positions_BN.tolist() == [list(range(50))] * 2


@pytest.mark.parametrize("n", [1, 50, 600])
def test_whoever_looks_at_the_best_may_go_on(n: int) -> None:
    scores_BV = draw(1000, seed=n)
    best = nothing_yet(len(scores_BV), n)
    for lo in range(0, WIDTH, 1000):
        assert offer(best, np.ascontiguousarray(scores_BV[:, lo : lo + 1000]), lo)
        expected_BN, _ = by_sort(scores_BV[:, : lo + 1000], n)
        assert np.array_equal(unranked(best), np.sort(expected_BN, axis=1))
        assert np.array_equal(ranked(best)[0], expected_BN)


def test_zeros_are_ranked_where_the_processor_flushes_the_smallest_numbers_to_zero() -> None:
    scores_BV, best = np.full((2, WIDTH), -1.0, dtype=np.float32), nothing_yet(2, 50)
    scores_BV[:, ::2] = 0.0
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps them")
    try:
        assert offer(best, scores_BV, 0)
    finally:
        torch.set_flush_denormal(False)
    positions_BN, _ = ranked(best)
    assert positions_BN.tolist() == [list(range(0, 100, 2))] * 2


@pytest.mark.parametrize("n", [1, 5, 50, 600])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_the_best_whole_numbers_times_scales_are_those_of_a_stable_sort(n: int, levels: int) -> None:
    generator = np.random.default_rng(n + levels)
    sums_BV = generator.integers(-levels, levels, (6, WIDTH)).astype(np.int32)
    scales_V = generator.choice([0, 0.5, 1, 2], WIDTH).astype(np.float32)
    sums_BV[generator.random(sums_BV.shape) < 0.3] = NO_SUM
    never_BV = (sums_BV == NO_SUM) | (scales_V == 0)
    expected_BN, best_BN = by_sort(np.where(never_BV, -np.inf, sums_BV.astype(np.float32) * scales_V), n)
    for block in (WIDTH, 1000, STRIDE - 1):
        best = nothing_yet(len(sums_BV), n)
        for lo in range(0, WIDTH, block):
            assert offer_sums(best, np.ascontiguousarray(sums_BV[:, lo : lo + block]), scales_V[lo : lo + block], lo)
        assert np.array_equal(unranked(best), np.sort(expected_BN, axis=1))
        for found, wanted in zip(ranked(best), (expected_BN, best_BN), strict=True):
            assert np.array_equal(found, wanted)


def test_a_scale_that_is_no_number_is_found() -> None:
    scales_V = np.ones(WIDTH, dtype=np.float32)
    scales_V[WIDTH - 2] = np.nan
    assert not offer_sums(nothing_yet(2, 5), np.ones((2, WIDTH), dtype=np.int32), scales_V, 0)
