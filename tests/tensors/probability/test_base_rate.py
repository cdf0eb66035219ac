"""What the sampling of negatives did to the odds is undone."""

from math import exp

import pytest
import torch

from crossrec_core.tensors.probability.base_rate import Sampling, among_all, sampling_of, sampling_rate


def test_draws_per_user_follow_from_positives_and_half_are_popular():
    labels_P, groups_P = torch.tensor([1, 0, 0, 1, 1, 0]), torch.tensor([1, 1, 1, 2, 2, 2])
    assert sampling_of(labels_P, groups_P, negatives_per_positive=4) == Sampling(uniform=3.0, popular=3.0)
    assert sampling_of(labels_P, groups_P, negatives_per_positive=3) == Sampling(uniform=3.0, popular=1.5)
    assert not sampling_of(labels_P, groups_P, negatives_per_positive=0)


def test_the_rate_of_an_item_grows_with_its_share_of_the_events():
    rates_P = sampling_rate(Sampling(4.0, 2.0), torch.tensor([0.0, 0.25]), 100)
    assert rates_P.tolist() == pytest.approx([1 - exp(-0.04), 1 - exp(-0.04 - 0.5)])


def test_with_every_negative_sampled_nothing_changes():
    probability_P = torch.tensor([0.1, 0.9]).double()
    torch.testing.assert_close(among_all(probability_P, torch.ones(2).double()), probability_P)


def test_sampled_pairs_give_back_the_clicks_of_the_whole_catalogue():
    """200 candidates, one of them taken per user; 8 negatives drawn per user, half by popularity."""
    generator = torch.Generator().manual_seed(0)
    num_users, num_items = 50_000, 200
    share_V = torch.arange(num_items, 0, -1).double() ** 2
    share_V /= share_V.sum()
    takes_V = torch.cat((torch.full((50,), 0.01), torch.full((150,), 0.5 / 150))).double()
    taken_B1 = torch.multinomial(takes_V, num_users, replacement=True, generator=generator)[:, None]
    uniform_B4 = torch.randint(0, num_items, (num_users, 4), generator=generator)
    popular_B4 = torch.multinomial(share_V, num_users * 4, replacement=True, generator=generator).view(-1, 4)
    is_drawn_BV = torch.zeros(num_users, num_items, dtype=torch.bool)
    is_drawn_BV.scatter_(1, torch.cat((uniform_B4, popular_B4), dim=1), True).scatter_(1, taken_B1, False)
    positives_V = torch.bincount(taken_B1.flatten(), minlength=num_items).double()
    among_pairs_V = positives_V / (positives_V + is_drawn_BV.sum(dim=0))
    found_V = among_all(among_pairs_V, sampling_rate(Sampling(4.0, 4.0), share_V, num_items))
    assert among_pairs_V.sum() > 20, "the pairs alone are far off"
    assert float(found_V.sum()) == pytest.approx(1.0, abs=0.03)
    torch.testing.assert_close(found_V[:50].mean(), torch.tensor(0.01).double(), atol=5e-4, rtol=0)
    torch.testing.assert_close(found_V[50:].mean(), torch.tensor(0.5 / 150).double(), atol=2e-4, rtol=0)
