"""A ranking loss beside the log loss: what it leaves alone, and what it mends."""

import pytest
import torch

from crossrec_core.tensors.probability.logistic import fit_logistic, list_cross_entropy


def test_the_list_loss_is_written_out():
    logits_P = torch.tensor([0.5, -1.0, 2.0, 0.0]).double()
    labels_P, groups_P = torch.tensor([1.0, 0.0, 1.0, 0.0]).double(), torch.tensor([7, 7, 3, 3])
    s = torch.sigmoid(logits_P)
    expected = -torch.log(s[0] / (s[0] + s[1])) - torch.log(s[2] / (s[2] + s[3]))
    assert float(list_cross_entropy(logits_P, labels_P, groups_P)) == pytest.approx(float(expected))


def test_the_true_probabilities_are_a_minimum_of_the_expected_list_loss():
    truth_P, groups_P = torch.tensor([0.7, 0.2, 0.4, 0.05, 0.5]).double(), torch.tensor([0, 0, 0, 1, 1])
    at_truth = list_cross_entropy(truth_P.logit(), truth_P, groups_P)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        moved_P = truth_P.logit() + 0.5 * torch.randn(5, generator=generator).double()
        assert list_cross_entropy(moved_P, truth_P, groups_P) >= at_truth


def users_of_different_level(seed, num_users=600, places=5):
    """Clicks by the item and the user's level; the level is seen with a noise that misleads within a user."""
    generator = torch.Generator().manual_seed(seed)
    groups_P = torch.arange(num_users).repeat_interleave(places)
    item_P = torch.randn(num_users * places, generator=generator).double()
    level_P = (2 * torch.randn(num_users, generator=generator).double())[groups_P]
    labels_P = (torch.rand(len(item_P), generator=generator) < torch.sigmoid(item_P + level_P - 1)).double()
    seen_P = level_P + 2 * torch.randn(len(item_P), generator=generator).double()
    x_PF = torch.stack((item_P, seen_P, torch.ones_like(item_P)), dim=1)
    return x_PF, labels_P, groups_P


def right_order(logits_P, labels_P, groups_P):
    """Share of a user's (positive, negative) pairs in the right order."""
    pairs = (groups_P[:, None] == groups_P) & (labels_P[:, None] > labels_P)
    return float((logits_P[:, None] > logits_P)[pairs].double().mean())


def test_the_ranking_loss_orders_a_users_pairs_better_and_stays_calibrated():
    x_PF, labels_P, groups_P = users_of_different_level(0)
    penalty_F = torch.tensor([1.0, 1.0, 0.0]).double()
    plain_F = fit_logistic(x_PF, labels_P, penalty_F)
    ranked_F = fit_logistic(x_PF, labels_P, penalty_F, groups_P=groups_P, ranking=5.0)
    fresh_PF, fresh_P, fresh_groups_P = users_of_different_level(1)
    plain, ranked = (right_order(fresh_PF @ w, fresh_P, fresh_groups_P) for w in (plain_F, ranked_F))
    assert ranked > plain + 0.01
    assert abs(float(torch.sigmoid(fresh_PF @ ranked_F).mean() - fresh_P.mean())) < 0.05
