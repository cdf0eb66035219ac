"""What sources say about candidates, on the tiny world of tests/scoring_world.py."""

import pytest
import torch

from crossrec_core.tensors.blending.sources import SPREAD, Source, gather_evidence, trend_phi
from crossrec_core.tensors.retrieval.block_scores import BlockScores, DomainCandidates
from tests.user_batches import batch_of

SCORES_BV = torch.tensor([[2.0, 0.0, 1.0, -1.0], [0.0, 0.0, 0.0, 3.0]])
WEIGHTS_BV = torch.tensor([[3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
TRENDS_HV = torch.tensor([[0.5, 0.25, 0.25, 0.0]])
FILL_V = -(2.0**23) - torch.arange(4.0)
CANDIDATES = DomainCandidates(
    1, torch.tensor([2, 4, 6, 8]), TRENDS_HV[0], FILL_V, TRENDS_HV, TRENDS_HV[0], torch.zeros(4, dtype=torch.bool)
)
# Both users have item 4, at position 1, in domain 1
USERS = batch_of([[(4, 1)], [(4, 1)]], max_len=2, seen={1: [[4], [4]]})


def source_of(scores_BV, *, is_logit):
    scores_BV = scores_BV if is_logit else torch.where(scores_BV > 0, scores_BV, FILL_V)
    is_personal_B = torch.tensor([True, is_logit])
    scores = BlockScores(
        block=lambda lo, hi: scores_BV[:, lo:hi].clone(), at=lambda rows, places: scores_BV[rows, places],
        is_personal_B=is_personal_B, probability=None,
    )  # fmt: skip
    return Source("model", lambda users: scores, is_logit=is_logit, counts_mass=not is_logit)


def evidence_of(*sources):
    return gather_evidence(sources, USERS, CANDIDATES, trend_phi(TRENDS_HV))


def test_logits_become_a_softmax_over_what_the_user_may_get():
    p_BV = evidence_of(source_of(SCORES_BV, is_logit=True)).model_block(0, 0, 4).exp()
    assert p_BV[:, [0, 2, 3]].sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert p_BV[0].tolist() == pytest.approx(SCORES_BV[0, [0, 2, 3]].softmax(0)[0] / torch.tensor(2.0).exp()
                                             * SCORES_BV[0].exp())  # fmt: skip


def test_weights_become_spread_shares_and_nothing_known_is_even():
    log_p_BV = evidence_of(source_of(WEIGHTS_BV, is_logit=False)).model_block(0, 0, 4)
    spread = SPREAD / 4
    shares = [(1 - SPREAD) * 0.75 + spread, spread, (1 - SPREAD) * 0.25 + spread, spread]
    assert log_p_BV[0].exp().tolist() == pytest.approx(shares)
    assert log_p_BV[1].exp().tolist() == pytest.approx([spread] * 4)


def test_the_mass_of_counted_transitions_is_a_feature():
    evidence = evidence_of(source_of(WEIGHTS_BV, is_logit=False), source_of(SCORES_BV, is_logit=True))
    assert evidence.features_BF[:, 4].tolist() == pytest.approx([torch.tensor(5.0).log().item(), 0.0])
    assert evidence.is_personal_B.tolist() == [True, True]
    assert evidence_of(source_of(WEIGHTS_BV, is_logit=False)).is_personal_B.tolist() == [True, False]


def test_pairs_say_what_blocks_say():
    evidence = evidence_of(source_of(SCORES_BV, is_logit=True), source_of(WEIGHTS_BV, is_logit=False))
    rows_P, places_P = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 3, 2, 3])
    phi_PJ = evidence.at(rows_P, places_P)
    for k in range(2):
        assert torch.allclose(phi_PJ[:, k], evidence.model_block(k, 0, 4)[rows_P, places_P])
        assert torch.allclose(evidence.model_block(k, 2, 4), evidence.model_block(k, 0, 4)[:, 2:])
    assert torch.equal(phi_PJ[:, 2:], evidence.trend_phi_JV[:, places_P].T)


def test_trends_rank_with_ties_sharing_a_rank():
    log_p_V, reciprocal_V = trend_phi(TRENDS_HV)
    assert reciprocal_V.tolist() == pytest.approx([1 / 21, 1 / 22, 1 / 22, 1 / 23])
    assert log_p_V.exp().tolist() == pytest.approx([0.475, 0.25, 0.25, 0.025])
