"""Scores of the closed-form models against slow, obvious sums and numpy's solver."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from crossrec_core.tensors.closed_form.sparse_scores import fold_in, mix_popularity, text_queries, transition_scores
from tests import oracles

NUM_ITEMS, NUM_CANDIDATES, LENGTH = 12, 7, 6


def random_weights(seed: int) -> dict[int, dict[int, float]]:
    """Item number -> candidate position -> weight; every third item has no row."""
    draw = random.Random(seed)
    return {
        item: {place: draw.random() for place in draw.sample(range(NUM_CANDIDATES), 3)}
        for item in range(1, NUM_ITEMS + 1)
        if item % 3
    }


def compress(weights: dict[int, dict[int, float]]) -> dict[str, Tensor]:
    rows = [sorted(weights.get(item, {}).items()) for item in range(NUM_ITEMS + 1)]
    indptr = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    pairs = [pair for row in rows for pair in row]
    return {
        "indptr": indptr,
        "positions": torch.tensor([place for place, _ in pairs], dtype=torch.int32),
        "weights": torch.tensor([weight for _, weight in pairs]),
    }


def score(items_BL: Tensor, weights: dict[int, dict[int, float]], decay: float) -> Tensor:
    return transition_scores(items_BL, **compress(weights), num_candidates=NUM_CANDIDATES, history_decay=decay)


def pad_events(events: list[int]) -> list[int]:
    return events + [0] * (LENGTH - len(events))


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_sum_over_the_history(seed: int) -> None:
    weights, draw = random_weights(seed), random.Random(seed + 100)
    users = [[draw.randint(1, NUM_ITEMS) for _ in range(draw.randint(0, LENGTH))] for _ in range(20)]
    scores_BV = score(torch.tensor([pad_events(events) for events in users]), weights, 0.7)
    for row, events in zip(scores_BV.tolist(), users, strict=True):
        expected = oracles.transition_scores(events, weights, 0.7)
        assert row == pytest.approx([expected.get(place, 0.0) for place in range(NUM_CANDIDATES)], rel=1e-5)


def test_events_without_a_row_do_not_age_the_others() -> None:
    weights = random_weights(0)
    with_stranger = score(torch.tensor([pad_events([1, 3, 2, 6])]), weights, 0.5)
    without = score(torch.tensor([pad_events([1, 2])]), weights, 0.5)
    assert torch.equal(with_stranger, without)


def test_items_newer_than_the_table_have_no_row() -> None:
    weights = random_weights(0)
    assert torch.equal(
        score(torch.tensor([pad_events([1, NUM_ITEMS + 5])]), weights, 0.5),
        score(torch.tensor([pad_events([1])]), weights, 0.5),
    )


def test_a_user_scores_the_same_alone_and_in_a_batch() -> None:
    weights = random_weights(1)
    items_BL = torch.randint(0, NUM_ITEMS + 1, (50, LENGTH), generator=torch.Generator().manual_seed(3))
    assert torch.equal(score(items_BL, weights, 0.9)[17:18], score(items_BL[17:18], weights, 0.9))


def test_mixing_shares_keeps_the_sum_and_users_without_evidence_get_popularity() -> None:
    popularity_V = torch.tensor([0.5, 0.3, 0.2])
    mixed_BV = mix_popularity(torch.tensor([[2.0, 0.0, 6.0], [0.0, 0.0, 0.0]]), popularity_V, share=0.4)
    expected = [[0.6 * 0.25 + 0.4 * 0.5, 0.4 * 0.3, 0.6 * 0.75 + 0.4 * 0.2], [0.4 * 0.5, 0.4 * 0.3, 0.4 * 0.2]]
    assert mixed_BV.tolist() == [pytest.approx(row) for row in expected]


def test_fold_in_solves_the_normal_equations() -> None:
    vectors_IK = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    vectors_IK[[0, 5]] = 0  # padding, and an item the model does not know
    gram_KK = vectors_IK.T @ vectors_IK
    users = [[1, 2, 2, 7], [5, 3], [5], [], [100, 4]]
    items_BL = torch.tensor([pad_events(events) for events in users])
    found_BK = fold_in(items_BL, vectors_IK=vectors_IK, gram_KK=gram_KK, regularisation=0.3, alpha=2.0)
    for found_K, events in zip(found_BK.numpy(), users, strict=True):
        known = [item for item in events if item in (1, 2, 3, 4, 6, 7, 8)]
        left, right = gram_KK.double().numpy() + 0.3 * max(len(set(known)), 1) * np.eye(4), np.zeros(4)
        for item in set(known):
            vector = vectors_IK[item].double().numpy()
            left = left + 2.0 * known.count(item) * np.outer(vector, vector)
            right = right + (1 + 2.0 * known.count(item)) * vector
        assert found_K == pytest.approx(np.linalg.solve(left, right), rel=1e-4, abs=1e-7)


def test_event_weights_count_in_the_confidence() -> None:
    vectors_IK = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    common = {"vectors_IK": vectors_IK, "gram_KK": vectors_IK.T @ vectors_IK, "regularisation": 0.1, "alpha": 1.5}
    thrice = fold_in(torch.tensor([[1, 2, 2, 2]]), **common)
    weighed = fold_in(torch.tensor([[1, 2, 0, 0]]), weights_BL=torch.tensor([[1.0, 3.0, 0.0, 0.0]]), **common)
    assert torch.allclose(thrice, weighed)


def test_events_of_weight_zero_are_left_out_of_the_fold_in() -> None:
    vectors_IK = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    common = {"vectors_IK": vectors_IK, "gram_KK": vectors_IK.T @ vectors_IK, "regularisation": 0.1, "alpha": 1.5}
    one = fold_in(torch.tensor([[1, 0]]), weights_BL=torch.tensor([[2.0, 0.0]]), **common)
    two = fold_in(torch.tensor([[1, 4]]), weights_BL=torch.tensor([[2.0, 0.0]]), **common)
    assert torch.equal(one, two)
    assert not fold_in(torch.tensor([[4, 0]]), weights_BL=torch.zeros(1, 2), **common).any()


def test_events_also_fade_by_the_days_before_the_latest_that_counts() -> None:
    weights = {1: {0: 1.0}, 2: {1: 1.0}, 4: {2: 1.0}}
    items_BL, gaps_BL = torch.tensor([pad_events([1, 2, 4, 3])]), torch.tensor([pad_events([22, 18, 20, 25])])
    scores_BV = transition_scores(
        items_BL, **compress(weights), num_candidates=NUM_CANDIDATES, history_decay=0.5, gaps_BL=gaps_BL,
        half_life_days=3.0,
    )  # fmt: skip
    last, middle = (2**19 - 1) / 86_400, (2**17 - 1) / 86_400  # days before item 4 and before item 2; item 3 has no row
    expected = [0.25 * 0.5 ** ((last + middle) / 3), 0.5 * 0.5 ** (last / 3), 1.0]
    assert scores_BV[0, :3].tolist() == pytest.approx(expected, rel=1e-5)
    assert not scores_BV[0, 3:].any()


def test_text_queries_point_where_the_latest_texts_do() -> None:
    vectors_IK = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-0.5, 0.0]]).half()
    users = [[1, 3, 2], [4, 1], [3], [9, 2]]
    items_BL = torch.tensor([pad_events(events) for events in users])
    queries_BK = text_queries(items_BL, vectors_IK=vectors_IK, history_decay=0.5)
    length = (0.5**2 + 1) ** 0.5
    expected = [[0.5 / length, 1 / length], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    assert queries_BK.tolist() == [pytest.approx(row) for row in expected]
