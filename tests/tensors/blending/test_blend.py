"""Blends of made-up evidence whose right weights are known."""

from math import log

import pytest
import torch

from crossrec_core.tensors.blending.blend import NUM_FEATURES, fit_blend, user_features, user_weights
from crossrec_core.tensors.blending.blend_fit import Pooled, fit_pooled, with_users_alike
from tests.user_batches import batch_of


def made_pools(weights_J, *, num_users=400, num_places=30, seed=3):
    """Pools in which the truth is drawn from softmax(weights . phi)."""
    generator = torch.Generator().manual_seed(seed)
    phi_RMJ = torch.randn(num_users, num_places, len(weights_J), generator=generator)
    probability_RM = (phi_RMJ * torch.tensor(weights_J)).sum(dim=2).softmax(dim=1)
    chosen_R1 = torch.multinomial(probability_RM, 1, generator=generator)
    is_truth_RM = torch.zeros(num_users, num_places, dtype=torch.bool).scatter(1, chosen_R1, True)
    features_RF = torch.cat(
        (torch.randn(num_users, NUM_FEATURES - 1, generator=generator), torch.ones(num_users, 1)), 1
    )
    return phi_RMJ, torch.ones_like(is_truth_RM), is_truth_RM, features_RF.double()


def test_the_weights_that_made_the_choices_are_found():
    phi_RMJ, is_valid_RM, is_truth_RM, features_RF = made_pools([2.0, 0.0, -1.0])
    blend = fit_blend(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, l2=10.0, is_positive=False)
    weights_J = user_weights(blend, features_RF).mean(dim=0)
    assert weights_J.tolist() == pytest.approx([2.0, 0.0, -1.0], abs=0.25)


def test_without_negative_weights_evidence_that_spoke_against_the_choices_gets_next_to_none():
    phi_RMJ, is_valid_RM, is_truth_RM, features_RF = made_pools([1.0, -1.0])
    blend = fit_blend(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, l2=1.0, is_positive=True)
    weights_RJ = user_weights(blend, features_RF)
    assert bool((weights_RJ > 0).all())
    assert weights_RJ[:, 1].mean() < 0.02
    assert weights_RJ[:, 0].mean() > 0.6


def test_weights_follow_the_user_when_the_choices_do():
    phi_RMJ, is_valid_RM, is_truth_RM, features_RF = made_pools([1.5, 1.5], num_users=1_000)
    trusts_first_R = features_RF[:, 0] > 0
    choice_R = torch.where(trusts_first_R, phi_RMJ[:, :, 0].argmax(dim=1), phi_RMJ[:, :, 1].argmax(dim=1))
    is_truth_RM = torch.zeros_like(is_truth_RM).scatter(1, choice_R[:, None], True)
    blend = fit_blend(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, l2=1.0, is_positive=False)
    gained_R = user_weights(blend, features_RF) @ torch.tensor([1.0, -1.0])
    assert gained_R[trusts_first_R].mean() > 0.5
    assert gained_R[~trusts_first_R].mean() < -0.5
    alike = fit_blend(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, l2=1e6, is_positive=True)
    scaled_RJ = user_weights(alike, features_RF).double() * alike.scale_J
    assert torch.allclose(scaled_RJ, torch.tensor(log(2) / 4, dtype=scaled_RJ.dtype), atol=0.01)


def test_users_that_looked_alike_share_their_weights():
    phi_RMJ, is_valid_RM, is_truth_RM, features_RF = made_pools([2.0, 0.0, -1.0])
    pooled = Pooled(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, torch.empty(0), torch.empty(0))
    everyone_R = torch.ones(len(features_RF), dtype=torch.bool)
    blend = fit_pooled(with_users_alike(pooled), everyone_R, l2=10.0, is_positive=False)
    weights_RJ = user_weights(blend, features_RF)
    assert torch.equal(weights_RJ, weights_RJ[:1].expand_as(weights_RJ))
    assert weights_RJ[0].tolist() == pytest.approx([2.0, 0.0, -1.0], abs=0.25)


def test_a_user_beyond_those_that_taught_is_taken_for_the_last_of_them():
    blend = fit_blend(*made_pools([1.0, -1.0], num_users=60), l2=1.0, is_positive=False)
    features_RF = made_pools([1.0, -1.0], num_users=60)[3]
    edge_F, far_F = features_RF.amax(dim=0), features_RF.amax(dim=0) + 100
    assert torch.equal(user_weights(blend, edge_F[None]), user_weights(blend, far_F[None]))


def test_padding_of_a_pool_and_users_without_a_hit_teach_nothing():
    phi_RMJ, is_valid_RM, is_truth_RM, features_RF = made_pools([1.0, -1.0], num_users=50)
    plain = fit_blend(phi_RMJ, is_valid_RM, is_truth_RM, features_RF, l2=1.0, is_positive=False)
    padded = fit_blend(
        torch.cat((phi_RMJ, torch.zeros(50, 3, 2)), dim=1),
        torch.cat((is_valid_RM, torch.zeros(50, 3, dtype=torch.bool)), dim=1),
        torch.cat((is_truth_RM, torch.zeros(50, 3, dtype=torch.bool)), dim=1),
        features_RF, l2=1.0, is_positive=False,
    )  # fmt: skip
    assert torch.allclose(plain.gate_JF, padded.gate_JF, atol=1e-4)
    with_idle = fit_blend(
        torch.cat((phi_RMJ, phi_RMJ)), torch.cat((is_valid_RM, is_valid_RM)),
        torch.cat((is_truth_RM, torch.zeros_like(is_truth_RM))), torch.cat((features_RF, features_RF)),
        l2=1.0, is_positive=False,
    )  # fmt: skip
    assert torch.allclose(plain.gate_JF, with_idle.gate_JF, atol=1e-4)


def test_user_features_tell_own_events_from_others():
    users = batch_of([[(1, 1), (2, 2), (3, 2)], [(1, 1)], []], max_len=4)
    features_BF = user_features(users, torch.tensor([3.0, 0.0, 0.0]), domain_num=2)
    assert features_BF[0].tolist() == pytest.approx([log(4), log(3), 1, 0, log(4), 1])
    assert features_BF[1].tolist() == pytest.approx([log(2), 0, 0, 1, 0, 1])
    assert features_BF[2].tolist() == pytest.approx([0, 0, 0, 1, 0, 1])
