"""Sources and a fitted blend in, a block scorer out; and the pool of candidates that a blend is fitted on.

B users, V candidates, K models, J features of a candidate, M places of a pool, P pairs of a user and a candidate.
IO: the file of the blend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core.tensors.blending.blend import Blend, as_blend, user_weights
from crossrec_core.tensors.blending.cold_blend import (
    ColdBlend,
    ColdWeights,
    cold_pair_scores,
    cold_scores,
    cold_weights,
)
from crossrec_core.tensors.blending.sources import Evidence, Source, gather_evidence, trend_phi
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.inputs.user_batch import UserBatch, find_positions
from crossrec_core.tensors.probability.likes import like_features
from crossrec_core.tensors.probability.ranker import Ranker, listed_probability, probability
from crossrec_core.tensors.retrieval.block_scores import (
    FILL_TOP,
    BlockScorer,
    BlockScores,
    DomainCandidates,
    pad_rows,
    with_fill,
)
from crossrec_core.tensors.retrieval.topk import ScoreBlock, top_n

BLEND_FILE = "blend.safetensors"


@dataclass(frozen=True)
class Pool:
    """The best candidates of each source for each user, each once; what is left over of the M places is padding."""

    positions_BM: Tensor  # int64
    is_valid_BM: Tensor  # bool


@dataclass(frozen=True)
class BatchWeights:
    """The weights of a batch of users; without ``cold`` every candidate is scored by the same ones."""

    weights_BJ: Tensor  # float32
    cold: ColdWeights | None
    is_cold_V: Tensor  # bool


def blend_scorer(
    sources: Sequence[Source], blend: Blend, ranker: Ranker | None, candidates: DomainCandidates,
    cold: ColdBlend | None = None,
) -> BlockScorer:  # fmt: skip
    """The scorer of a blend: any real number, higher is better. Users about whom no model knows anything are filled.

    Without ``cold`` a cold candidate is scored as it comes, which is hardly ever high.
    """
    num_models, trend_phi_JV = len(sources), trend_phi(candidates.trends_HV)

    def score(users: UserBatch) -> BlockScores:
        evidence = gather_evidence(sources, users, candidates, trend_phi_JV)
        weights = batch_weights(blend, cold, evidence, candidates)
        weights_BJ = weights.weights_BJ
        padded_BJ = pad_rows(weights_BJ[:, num_models:].contiguous())

        def block(lo: int, hi: int) -> Tensor:
            scores_BV = (padded_BJ @ trend_phi_JV[:, lo:hi])[: len(weights_BJ)]
            cold_C = torch.nonzero(candidates.is_cold_V[lo:hi]).flatten() if weights.cold else torch.empty(0)
            said_BC: dict[int, tuple[Tensor, Tensor]] = {}
            for k in range(num_models):
                phi_BV, is_real_BV = evidence.said(k, lo, hi)
                scores_BV.addcmul_(phi_BV, weights_BJ[:, k : k + 1])
                if weights.cold and len(cold_C) and k in weights.cold.columns_T:
                    said_BC[k] = phi_BV[:, cold_C], is_real_BV[:, cold_C]
            if weights.cold and said_BC:
                scores_BV[:, cold_C] = cold_scores(weights.cold, said_BC, otherwise_BC=scores_BV[:, cold_C])
            return with_fill(scores_BV, evidence.is_personal_B, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            blended_P, _ = pair_scores(evidence, weights, rows_P, positions_P)
            return torch.where(evidence.is_personal_B[rows_P], blended_P, candidates.fill_V[positions_P])

        if ranker is None:
            return BlockScores(block, at, evidence.is_personal_B, None)
        fitted = ranker

        def pair_probability(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            likes_P2 = like_features(
                candidates.likes, users.likes_B2.get(candidates.domain_num), rows_P, positions_P
            )  # fmt: skip
            return probability(fitted, blend_features(evidence, weights, likes_P2, rows_P, positions_P))

        def among_all(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            found_P = pair_probability(rows_P, positions_P)
            return listed_probability(fitted, found_P, candidates.events_V[positions_P], len(candidates.events_V))

        return BlockScores(block, at, evidence.is_personal_B, pair_probability, among_all)

    return score


def batch_weights(
    blend: Blend, cold: ColdBlend | None, evidence: Evidence, candidates: DomainCandidates
) -> BatchWeights:
    """What a batch of users is scored with."""
    features_BF, has_cold = evidence.features_BF, bool(candidates.is_cold_V.any())
    own = cold_weights(cold, blend, features_BF) if cold is not None and has_cold else None
    return BatchWeights(user_weights(blend, features_BF), own, candidates.is_cold_V)


def pair_scores(
    evidence: Evidence, weights: BatchWeights, rows_P: Tensor, positions_P: Tensor
) -> tuple[Tensor, Tensor]:
    """The scores of pairs and their phi: float32 [P] and [P, J]."""
    phi_PJ, is_real_PK = evidence.said_at(rows_P, positions_P)
    scores_P = (phi_PJ * weights.weights_BJ[rows_P]).sum(dim=1)
    if weights.cold is None:
        return scores_P, phi_PJ
    speaks_P = weights.is_cold_V[positions_P] & is_real_PK[:, weights.cold.columns_T].any(dim=1)
    return torch.where(speaks_P, cold_pair_scores(weights.cold, phi_PJ, rows_P), scores_P), phi_PJ


def blend_features(
    evidence: Evidence, weights: BatchWeights, likes_P2: Tensor, rows_P: Tensor, positions_P: Tensor
) -> Tensor:
    """phi(u,c) of the click probability, float64 [P, 1 + J + 2 + F]: the score, its parts, likes and user's features.

    ``likes_P2`` is that of ``like_features``: two columns less where the domain is not rated. The last one is
    constant 1, the intercept.
    """
    scores_P, phi_PJ = pair_scores(evidence, weights, rows_P, positions_P)
    parts = (scores_P.double().unsqueeze(1), phi_PJ.double(), likes_P2, evidence.features_BF[rows_P])
    return torch.cat(parts, dim=1)


def draw_pool(
    evidence: Evidence, users: UserBatch, candidates: DomainCandidates, *, size: int, also: Sequence[BlockScores] = ()
) -> Pool:
    """The ``size`` best unseen candidates by each model, by each popularity and by ``also``, for each user."""
    num_users, num_candidates = len(users.items_BL), len(candidates.items_V)
    seen = find_positions(candidates.items_V, users.seen[candidates.domain_num])
    scorers = [scores.block for scores in (*evidence.scored, *also)]
    scorers += [_same_for_all(trend_V, num_users) for trend_V in candidates.trends_HV]
    best = [
        top_n(
            block, num_candidates=num_candidates, n=size, seen_rows=seen.rows_S, seen_positions=seen.values_S,
        )
        for block in scorers
    ]  # fmt: skip
    # Stand-ins of a model that has nothing to say are popularity's candidates, which are in the pool anyway
    placed = [torch.where(scores > FILL_TOP, positions, -1) for positions, scores in best]
    positions_BM = torch.cat(placed, dim=1).sort(dim=1).values
    is_repeat_BM = torch.zeros_like(positions_BM, dtype=torch.bool)
    is_repeat_BM[:, 1:] = positions_BM[:, 1:] == positions_BM[:, :-1]
    return Pool(positions_BM.clamp_min(0), (positions_BM >= 0) & ~is_repeat_BM)


def save_blend(folder: Path, blend: Blend) -> None:
    """Write ``blend.safetensors`` into a local folder."""
    save_file({name: values.contiguous() for name, values in vars(blend).items()}, folder / BLEND_FILE)


def load_blend(folder: Path) -> Blend:
    """Read what ``save_blend`` wrote. Raises CheckpointError when it is missing, broken or of another release."""
    return as_blend(read_tensors(folder / BLEND_FILE), folder / BLEND_FILE)


def _same_for_all(trend_V: Tensor, num_users: int) -> ScoreBlock:
    return lambda lo, hi: trend_V[lo:hi].repeat(num_users, 1)
