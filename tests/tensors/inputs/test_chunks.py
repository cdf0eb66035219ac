"""Chunks: shuffling and fitting keep rows whole, and keep the rows they promise."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrec_core.tensors.inputs.chunks import Chunk, fit_to, shuffle_rows

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def make_chunks(sizes: list[int]) -> Iterator[Chunk]:
    for numbers in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]):
        yield {"number": numbers, "pair": np.stack([numbers, -numbers], axis=1)}


def numbers_of(chunks: Iterator[Chunk]) -> list[int]:
    seen = list(chunks)
    numbers = np.concatenate([chunk["number"] for chunk in seen])
    pairs = np.concatenate([chunk["pair"] for chunk in seen])
    assert np.array_equal(pairs, np.stack([numbers, -numbers], axis=1))
    return numbers.tolist()


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, buffer_rows=st.integers(1, 40), seed=st.integers(0, 9))
def test_shuffling_gives_every_row_once_and_the_same_order_for_the_same_seed(
    sizes: list[int], buffer_rows: int, seed: int
) -> None:
    first, again = (
        numbers_of(shuffle_rows(make_chunks(sizes), buffer_rows=buffer_rows, rng=np.random.default_rng(seed)))
        for _ in range(2)
    )
    assert sorted(first) == list(range(sum(sizes)))
    assert first == again


def test_a_buffer_for_all_rows_gives_every_place_to_every_row_alike() -> None:
    rng = np.random.default_rng(0)
    places = np.zeros((6, 6))
    for _ in range(3_000):
        order = numbers_of(shuffle_rows(make_chunks([2, 3, 1]), buffer_rows=6, rng=rng))
        places[np.arange(6), order] += 1
    assert places / 3_000 == pytest.approx(np.full((6, 6), 1 / 6), abs=0.035)  # 5 standard deviations


def test_a_row_waits_in_a_full_buffer_before_it_leaves() -> None:
    order = numbers_of(shuffle_rows(make_chunks([10] * 10), buffer_rows=30, rng=np.random.default_rng(0)))
    assert max(order[:10]) < 30  # what leaves first was in the buffer when it was first full
    assert max(order[10:20]) < 40
    assert order != sorted(order)


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, num_rows=st.integers(0, 60))
def test_rows_are_cut_or_begin_again(sizes: list[int], num_rows: int) -> None:
    own_rows = sum(sizes)
    fitted = numbers_of(fit_to(make_chunks(sizes), own_rows=own_rows, num_rows=num_rows))
    assert fitted == [place % own_rows for place in range(num_rows)]
