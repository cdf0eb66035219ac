"""Exact ranked lists, against brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrec_core.tensors.retrieval.topk import top_n
from tests.oracles import best_items

NO_PAIRS = torch.empty(0, dtype=torch.int64)


def lists(scores_BV: torch.Tensor, seen: list[tuple[int, int]], *, n: int, block_items: int) -> list[list[int]]:
    rows = torch.tensor([row for row, _ in seen], dtype=torch.int64)
    places = torch.tensor([place for _, place in seen], dtype=torch.int64)
    positions_BN, scores_BN = top_n(
        lambda lo, hi: scores_BV[:, lo:hi].clone(),
        num_candidates=scores_BV.shape[1], n=n, seen_rows=rows, seen_positions=places, block_items=block_items,
    )  # fmt: skip
    for row, (positions, scores) in enumerate(zip(positions_BN.tolist(), scores_BN.tolist(), strict=True)):
        for position, score in zip(positions, scores, strict=True):
            assert score == (scores_BV[row, position] if position >= 0 else float("-inf"))
    return positions_BN.tolist()


def by_hand(scores_BV: torch.Tensor, seen: list[tuple[int, int]], *, n: int) -> list[list[int]]:
    found = []
    for row, scores in enumerate(scores_BV.tolist()):
        allowed = {place: score for place, score in enumerate(scores) if score > float("-inf")}
        best = best_items(allowed, {place for other, place in seen if other == row}, n)
        found.append(best + [-1] * (n - len(best)))
    return found


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, list[tuple[int, int]], int, int]:
    num_rows, num_candidates = draw(st.integers(1, 4)), draw(st.integers(0, 40))
    levels = st.sampled_from([0.0, 1.0, 2.0, -3.5, float("-inf")])
    scores = draw(st.lists(levels, min_size=num_rows * num_candidates, max_size=num_rows * num_candidates))
    pairs = st.tuples(st.integers(0, num_rows - 1), st.integers(0, max(num_candidates - 1, 0)))
    seen = draw(st.lists(pairs, max_size=30)) if num_candidates else []
    scores_BV = torch.tensor(scores, dtype=torch.float32).view(num_rows, num_candidates)
    return scores_BV, seen, draw(st.integers(1, 12)), draw(st.integers(1, 50))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_lists_equal_brute_force_with_many_ties_for_any_block_size(
    problem: tuple[torch.Tensor, list[tuple[int, int]], int, int],
) -> None:
    scores_BV, seen, n, block_items = problem
    assert lists(scores_BV, seen, n=n, block_items=block_items) == by_hand(scores_BV, seen, n=n)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([2, 7, 1000, 10**6]), st.sampled_from([97, 300, 1000, 5000]))
def test_lists_equal_brute_force_where_candidates_are_grouped(seed: int, num_levels: int, block_items: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores_BV = torch.randint(num_levels, (5, 1003), generator=generator).float()
    seen = [(row, place) for row in range(5) for place in range(row, 1003, 3 + row)]
    assert lists(scores_BV, seen, n=6, block_items=block_items) == by_hand(scores_BV, seen, n=6)


def test_a_list_is_padded_where_too_few_candidates_remain() -> None:
    positions_BN, scores_BN = top_n(
        lambda lo, hi: torch.tensor([[3.0, 2.0]])[:, lo:hi],
        num_candidates=2, n=3, seen_rows=torch.tensor([0]), seen_positions=torch.tensor([0]), block_items=10,
    )  # fmt: skip
    assert positions_BN.tolist() == [[1, -1, -1]]
    assert scores_BN.tolist() == [[2.0, float("-inf"), float("-inf")]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"positions 2\.\.4 is NaN"):
        top_n(
            lambda lo, hi: torch.tensor([[0.0, 1.0, bad, float("-inf")]])[:, lo:hi],
            num_candidates=4, n=1, seen_rows=NO_PAIRS, seen_positions=NO_PAIRS, block_items=2,
        )  # fmt: skip
