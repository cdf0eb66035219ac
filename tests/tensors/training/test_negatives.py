import torch

from crossrec_core.tensors.training.negatives import draw_by_events, draw_negatives, draw_places


def test_negatives_are_uniform_candidates_and_repeat_for_a_seed():
    candidates_V = torch.tensor([3, 7, 11, 12])
    first, second = (draw_negatives(candidates_V, 4_000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    nums, counts = first.unique(return_counts=True)
    assert nums.tolist() == [3, 7, 11, 12]
    assert all(900 < count < 1_100 for count in counts.tolist())


def test_negatives_by_events_come_as_often_as_is_said_of_them():
    events_V = torch.tensor([0.64, 0.04, 0.16, 0.16])
    draw = draw_by_events(events_V, power=0.5)
    torch.testing.assert_close(draw.log_shares_V.exp(), torch.tensor([4.0, 1.0, 2.0, 2.0]) / 9)
    first, second = (draw_places(draw, 90_000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    expected_V = draw.log_expected(first).exp().new_zeros(4).scatter(0, first, draw.log_expected(first).exp())
    counts_V = first.bincount(minlength=4)
    torch.testing.assert_close(expected_V, torch.tensor([40_000.0, 10_000.0, 20_000.0, 20_000.0]))
    assert bool(((counts_V - expected_V).abs() < 4 * expected_V.sqrt()).all())


def test_power_0_draws_all_alike():
    draw = draw_by_events(torch.tensor([0.7, 0.2, 0.1]), power=0.0)
    torch.testing.assert_close(draw.log_shares_V.exp(), torch.full((3,), 1 / 3))
