import torch

from crossrec_core.tensors.negatives import draw_negatives


def test_negatives_are_uniform_candidates_and_repeat_for_a_seed():
    candidates_V = torch.tensor([3, 7, 11, 12])
    first, second = (draw_negatives(candidates_V, 4_000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    nums, counts = first.unique(return_counts=True)
    assert nums.tolist() == [3, 7, 11, 12]
    assert all(900 < count < 1_100 for count in counts.tolist())
