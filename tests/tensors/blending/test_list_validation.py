"""Mean NDCG of a block scorer's lists, against arithmetic by hand."""

from math import log2

import pytest
import torch
from torch import Tensor

from crossrec_core.tensors.blending.list_validation import mean_list_ndcg
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.user_batch import UserBatch
from crossrec_core.tensors.retrieval.block_scores import BlockScores, DomainCandidates
from crossrec_core.tensors.training.validation import HeldOut

CANDIDATES = DomainCandidates(
    1,
    torch.tensor([2, 4, 6, 8]),
    torch.tensor([0.1, 0.2, 0.3, 0.4]),
    torch.zeros(4),
    torch.zeros(0, 4),
    torch.tensor([0.1, 0.2, 0.3, 0.4]),
    torch.zeros(4, dtype=torch.bool),
)


def scorer(scores_V: Tensor) -> object:
    def score(users: UserBatch) -> BlockScores:
        scores_BV = scores_V.repeat(len(users.items_BL), 1)
        return BlockScores(
            block=lambda lo, hi: scores_BV[:, lo:hi].clone(),
            at=lambda rows_P, positions_P: scores_BV[rows_P, positions_P],
            is_personal_B=torch.ones(len(scores_BV), dtype=bool),
            probability=None,
        )

    return score


def held_out(items: list[list[int]], truth: list[list[int]], *, exclude_seen: bool = True) -> HeldOut:
    items_BL = torch.tensor(items)
    columns = dict.fromkeys(SEQUENCE_COLUMNS, items_BL)
    return HeldOut(columns, torch.tensor(truth), torch.arange(len(items)), 1, exclude_seen)


def test_seen_items_leave_the_list_before_it_is_judged() -> None:
    scores_V = torch.tensor([4.0, 3.0, 2.0, 1.0])  # items 2, 4, 6, 8 in this order
    users = held_out([[2, 0], [7, 0], [0, 0]], [[4, 0], [6, 8], [5, 0]])
    first = 1.0  # item 4 moves up to rank 1
    second = (1 / log2(4) + 1 / log2(5)) / (1 + 1 / log2(3))
    for batch_size in (1, 3):
        value = mean_list_ndcg(scorer(scores_V), users, CANDIDATES, n=4, batch_size=batch_size)
        assert value == pytest.approx((first + second + 0.0) / 3, rel=1e-6)


def test_repeats_stay_where_the_domain_allows_them() -> None:
    users = held_out([[2, 0]], [[4, 0]], exclude_seen=False)
    assert mean_list_ndcg(scorer(torch.tensor([4.0, 3.0, 2.0, 1.0])), users, CANDIDATES) == pytest.approx(1 / log2(3))


def test_ties_go_to_the_lower_position() -> None:
    users = held_out([[0, 0]], [[2, 0]])
    assert mean_list_ndcg(scorer(torch.zeros(4)), users, CANDIDATES, n=1) == 1.0
