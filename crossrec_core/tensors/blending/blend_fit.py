"""Sources and held-out users in, a fitted blend and its click probability out.

R held-out users, M places of a pool, J features of a candidate, F of a user, T truth items, P labelled pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crossrec_core.tensors.blending.blend import Blend, fit_blend
from crossrec_core.tensors.blending.blend_scorer import batch_weights, blend_features, blend_scorer, draw_pool
from crossrec_core.tensors.blending.cold_blend import ColdBlend
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg, to_users
from crossrec_core.tensors.blending.sources import Source, gather_evidence, trend_phi
from crossrec_core.tensors.probability.likes import like_features
from crossrec_core.tensors.probability.ranker import half_of
from crossrec_core.tensors.retrieval.block_scores import BlockScorer, DomainCandidates
from crossrec_core.tensors.training.validation import HeldOut, take_held_out

BATCH_USERS = 256


@dataclass(frozen=True)
class Pooled:
    """The pools of all held-out users with what is known of each candidate."""

    phi_RMJ: Tensor  # float32
    is_valid_RM: Tensor  # bool
    is_truth_RM: Tensor  # bool
    features_RF: Tensor  # float64
    positions_RM: Tensor  # int64
    is_real_RMK: Tensor  # bool: which of the K sources have something to say


def pool_held_out(
    sources: Sequence[Source], held_out: HeldOut, candidates: DomainCandidates, *, size: int,
    also: Sequence[BlockScorer] = (),
) -> Pooled:  # fmt: skip
    """Draw the pool of every held-out user: memory for R x M x J numbers. ``also`` have their best in it too."""
    trend_phi_JV = trend_phi(candidates.trends_HV)
    parts = []
    for start in range(0, len(held_out.truth_RT), BATCH_USERS):
        users = to_users(held_out, start, start + BATCH_USERS)
        evidence = gather_evidence(sources, users, candidates, trend_phi_JV)
        pool = draw_pool(evidence, users, candidates, size=size, also=[score(users) for score in also])
        rows_P, places_P = torch.nonzero(pool.is_valid_BM, as_tuple=True)
        positions_P = pool.positions_BM[rows_P, places_P]
        phi_BMJ = torch.zeros(*pool.is_valid_BM.shape, len(sources) + len(trend_phi_JV))
        is_real_BMK = torch.zeros(*pool.is_valid_BM.shape, len(sources), dtype=torch.bool)
        phi_BMJ[rows_P, places_P], is_real_BMK[rows_P, places_P] = evidence.said_at(rows_P, positions_P)
        truth_BT = held_out.truth_RT[start : start + BATCH_USERS]
        items_BM = torch.where(pool.is_valid_BM, candidates.items_V[pool.positions_BM], -1)
        is_truth_BM = (items_BM[:, :, None] == truth_BT[:, None, :]).any(dim=2)
        parts.append((phi_BMJ, pool.is_valid_BM, is_truth_BM, evidence.features_BF, pool.positions_BM, is_real_BMK))
    return Pooled(*(torch.cat(values) for values in zip(*parts, strict=True)))


def with_users_alike(pooled: Pooled) -> Pooled:
    """The pools as if all users were the same: a blend fitted on them has one weight per source for everyone.

    Features without a range teach nothing, and the blend clamps every user's to it.
    """
    return replace(pooled, features_RF=torch.ones_like(pooled.features_RF))


def fit_pooled(pooled: Pooled, rows_R: Tensor, *, l2: float, is_positive: bool) -> Blend:
    """Fit a blend on some of the held-out users (bool)."""
    return fit_blend(
        pooled.phi_RMJ[rows_R], pooled.is_valid_RM[rows_R], pooled.is_truth_RM[rows_R], pooled.features_RF[rows_R],
        l2=l2, is_positive=is_positive,
    )  # fmt: skip


def cross_fitted_ndcg(
    pooled: Pooled, sources: Sequence[Source], held_out: HeldOut, candidates: DomainCandidates, *, l2: float,
    is_positive: bool, cold: ColdBlend | None = None,
) -> float:  # fmt: skip
    """Mean NDCG@10 of each half of the users (by hash) under the blend fitted on the other half.

    What the blend of all users reaches on the same users would flatter it. ``cold`` is that of all users.
    """
    second_R = half_of(held_out.user_nums_R) == 1
    total = 0.0
    for judged_R in (second_R, ~second_R):
        if not bool(judged_R.any()) or not bool(pooled.is_truth_RM[~judged_R].any()):
            continue
        blend = fit_pooled(pooled, ~judged_R, l2=l2, is_positive=is_positive)
        scorer = blend_scorer(sources, blend, None, candidates, cold)
        own = take_held_out(held_out, judged_R)
        total += mean_list_ndcg(scorer, own, candidates) * len(own.truth_RT)
    return total / max(len(held_out.truth_RT), 1)


def pair_features(
    sources: Sequence[Source], blend: Blend, held_out: HeldOut, candidates: DomainCandidates, rows_P: Tensor,
    items_P: Tensor, cold: ColdBlend | None = None,
) -> Tensor:  # fmt: skip
    """phi(u,c) of labelled pairs of held-out users (rows ascend), float64 [P', 1 + J + F], two more where it is rated.

    ``items_P`` are item numbers of candidates.
    """
    trend_phi_JV = trend_phi(candidates.trends_HV)
    parts = []
    for start in range(0, len(held_out.truth_RT), BATCH_USERS):
        users = to_users(held_out, start, start + BATCH_USERS)
        evidence = gather_evidence(sources, users, candidates, trend_phi_JV)
        is_here_P = (rows_P >= start) & (rows_P < start + BATCH_USERS)
        positions_P = torch.searchsorted(candidates.items_V, items_P[is_here_P].contiguous())
        weights = batch_weights(blend, cold, evidence, candidates)
        own_rows_P = rows_P[is_here_P] - start
        likes_P2 = like_features(
            candidates.likes, users.likes_B2.get(held_out.domain_num), own_rows_P, positions_P
        )  # fmt: skip
        parts.append(blend_features(evidence, weights, likes_P2, own_rows_P, positions_P))
    return torch.cat(parts)
