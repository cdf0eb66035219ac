"""What is said of a pair does not depend on the pairs beside it."""

import pytest
import torch
from torch import Tensor

from crossrec_core.tensors.retrieval.block_scores import of_pairs

WEIGHTS_F = torch.linspace(-1, 1, 9, dtype=torch.float64)


def say(rows_P: Tensor, positions_P: Tensor) -> Tensor:
    """A logistic regression on nine made-up features."""
    phi_PF = torch.sin(rows_P[:, None] * 0.7 + positions_P[:, None] * torch.arange(1, 10) * 0.3)
    return torch.sigmoid(phi_PF.double() @ WEIGHTS_F)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("beside", [0, 1, 6, 63, 64, 100_000])
def test_a_pair_is_the_same_to_the_last_bit_whoever_is_beside_it(beside: int, threads: int) -> None:
    rows_P, positions_P = torch.arange(200), torch.arange(200) * 17 % 101
    more_P = torch.arange(beside)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone_P = torch.cat([of_pairs(say, rows_P[k : k + 1], positions_P[k : k + 1]) for k in range(200)])
        among_P = of_pairs(say, torch.cat((more_P, rows_P)), torch.cat((more_P, positions_P)))[beside:]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone_P, among_P)


def test_no_pair_has_nothing_said_of_it() -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert of_pairs(say, none, none).shape == (0,)
