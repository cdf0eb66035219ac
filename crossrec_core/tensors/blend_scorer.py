"""Sources and a fitted blend in, a block scorer out; and the pool of candidates that a blend is fitted on.

B users, V candidates, K models, J features of a candidate, M places of a pool, P pairs of a user and a candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core.tensors.blend import Blend, user_weights
from crossrec_core.tensors.block_scores import FILL_TOP, BlockScorer, BlockScores, DomainCandidates, pad_rows, with_fill
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.ranker import Ranker, listed_probability, probability
from crossrec_core.tensors.sources import Evidence, Source, gather_evidence, trend_phi
from crossrec_core.tensors.topk import ScoreBlock, top_n
from crossrec_core.tensors.user_batch import UserBatch, find_positions

BLOCK_ITEMS = 65_536
BLEND_FILE = "blend.safetensors"


@dataclass(frozen=True)
class Pool:
    """The best candidates of each source for each user, each once; what is left over of the M places is padding."""

    positions_BM: Tensor  # int64
    is_valid_BM: Tensor  # bool


def blend_scorer(
    sources: Sequence[Source], blend: Blend, ranker: Ranker | None, candidates: DomainCandidates
) -> BlockScorer:
    """The scorer of a blend: any real number, higher is better. Users about whom no model knows anything are filled."""
    num_models, trend_phi_JV = len(sources), trend_phi(candidates.trends_HV)

    def score(users: UserBatch) -> BlockScores:
        evidence = gather_evidence(sources, users, candidates, trend_phi_JV)
        weights_BJ = user_weights(blend, evidence.features_BF)
        padded_BJ = pad_rows(weights_BJ[:, num_models:].contiguous())

        def block(lo: int, hi: int) -> Tensor:
            scores_BV = (padded_BJ @ trend_phi_JV[:, lo:hi])[: len(weights_BJ)]
            for k in range(num_models):
                scores_BV.addcmul_(evidence.model_block(k, lo, hi), weights_BJ[:, k : k + 1])
            return with_fill(scores_BV, evidence.is_personal_B, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            blended_P = (evidence.at(rows_P, positions_P) * weights_BJ[rows_P]).sum(dim=1)
            return torch.where(evidence.is_personal_B[rows_P], blended_P, candidates.fill_V[positions_P])

        if ranker is None:
            return BlockScores(block, at, evidence.is_personal_B, None)
        fitted = ranker

        def pair_probability(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            return probability(fitted, blend_features(evidence, weights_BJ, rows_P, positions_P))

        def among_all(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            found_P = pair_probability(rows_P, positions_P)
            return listed_probability(fitted, found_P, candidates.events_V[positions_P], len(candidates.events_V))

        return BlockScores(block, at, evidence.is_personal_B, pair_probability, among_all)

    return score


def blend_features(evidence: Evidence, weights_BJ: Tensor, rows_P: Tensor, positions_P: Tensor) -> Tensor:
    """phi(u,c) of the click probability, float64 [P, 1 + J + F]: the score, its parts and the user's features.

    The last one is constant 1, the intercept.
    """
    phi_PJ = evidence.at(rows_P, positions_P).double()
    score_P1 = (phi_PJ * weights_BJ[rows_P]).sum(dim=1, keepdim=True)
    return torch.cat((score_P1, phi_PJ, evidence.features_BF[rows_P]), dim=1)


def draw_pool(evidence: Evidence, users: UserBatch, candidates: DomainCandidates, *, size: int) -> Pool:
    """The ``size`` best unseen candidates by each model and by each popularity, for each user."""
    num_users, num_candidates = len(users.items_BL), len(candidates.items_V)
    seen = find_positions(candidates.items_V, users.seen[candidates.domain_num])
    scorers = [scores.block for scores in evidence.scored]
    scorers += [_same_for_all(trend_V, num_users) for trend_V in candidates.trends_HV]
    best = [
        top_n(
            block, num_candidates=num_candidates, n=size, seen_rows=seen.rows_S, seen_positions=seen.values_S,
            block_items=BLOCK_ITEMS,
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
    """Read what ``save_blend`` wrote. Raises CheckpointError when it is missing or broken."""
    return Blend(**read_tensors(folder / BLEND_FILE))


def _same_for_all(trend_V: Tensor, num_users: int) -> ScoreBlock:
    return lambda lo, hi: trend_V[lo:hi].repeat(num_users, 1)
