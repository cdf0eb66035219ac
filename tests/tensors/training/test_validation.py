import math

import pytest
import torch

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.training.validation import HeldOut, mean_ndcg, mean_over_domains, ndcg
from tests.tensors.worlds import random_columns, tiny_model


def test_ndcg_is_written_out():
    top_BN = torch.tensor([[5, 6, 7], [1, 2, 3]])
    truth_BT = torch.tensor([[6, 9, 0], [1, 0, 0]])
    expected = [(1 / math.log2(3)) / (1 + 1 / math.log2(3)), 1.0]
    assert ndcg(top_BN, truth_BT, n=3).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_mean_ndcg_equals_a_plain_loop(exclude_seen):
    model, nums_V = tiny_model(), torch.tensor([1, 2, 4, 5, 7, 8, 9, 12, 15, 17, 19])
    with torch.no_grad():
        torch.nn.init.normal_(model.items.ids, std=1.0)
    columns = random_columns(9, 6, seed=5)
    truth_RT = nums_V[torch.randint(0, 11, (9, 2), generator=torch.Generator().manual_seed(1))]
    truth_RT[:, 1] = torch.where(truth_RT[:, 1] == truth_RT[:, 0], 0, truth_RT[:, 1])
    total = 0.0
    for row in range(9):
        query = model.last_query(*(columns[name][row : row + 1] for name in SEQUENCE_COLUMNS), target_domain=1)[0]
        seen = set(columns["item_nums"][row].tolist()) if exclude_seen else set()
        scores_V = (model.item_vectors(nums_V) @ query).tolist()
        scored = sorted((-score, num) for score, num in zip(scores_V, nums_V.tolist(), strict=True) if num not in seen)
        truth = {num for num in truth_RT[row].tolist() if num}
        gain = sum(1 / math.log2(2 + rank) for rank, (_, num) in enumerate(scored[:3]) if num in truth)
        total += gain / sum(1 / math.log2(2 + rank) for rank in range(min(3, len(truth))))
    held_out = HeldOut(columns, truth_RT, torch.arange(9), 1, exclude_seen)
    assert mean_ndcg(model, held_out, nums_V, n=3, batch_size=4) == pytest.approx(total / 9, abs=1e-6)


def test_domains_with_many_users_count_alike_and_a_handful_of_users_hardly() -> None:
    assert mean_over_domains([0.1, 0.3], [5000, 5000]) == pytest.approx(0.2)
    assert mean_over_domains([0.1, 0.3], [100, 100]) == pytest.approx(0.2)
    assert mean_over_domains([0.1, 0.9], [900, 100]) == pytest.approx((0.9 * 0.1 + 0.5 * 0.9) / 1.4)
    assert mean_over_domains([0.0], [0]) == 0.0
