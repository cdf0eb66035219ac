"""Sources, held-out users and a fitted blend in, what to do about cold candidates out.

Held-out items are hardly ever cold, so coldness is simulated: a share of the touched candidates, by hash, loses its
counted and popularity evidence and its ids, and stands among the others with what its texts say (as DropoutNet,
Volkovs et al. 2017, trains; here only a few weights are fitted).

R held-out users (of all draws, one after another), M places of a pool, V candidates, T sources that read texts, S
shifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crossrec_core.tensors.blending.blend import Blend, minimise, moments, penalty, user_weights
from crossrec_core.tensors.blending.blend_fit import Pooled, pool_held_out
from crossrec_core.tensors.blending.cold_blend import ColdBlend, cold_pair_scores, uncorrected_weights
from crossrec_core.tensors.blending.sources import Source
from crossrec_core.tensors.inputs.user_batch import UserBatch
from crossrec_core.tensors.retrieval.block_scores import BlockScores, DomainCandidates
from crossrec_core.tensors.training.validation import HeldOut

NUM_DRAWS = 3  # disjoint: as many times the share of the held-out items is cold once
TOP = 10  # the places of a list in which hits count
# Standard deviations of a score are a few units: beyond these the cold have all places or none
SHIFTS = torch.arange(-6.0, 6.01, 0.25, dtype=torch.float64)
_HASH = 0x9E3779B97F4A7C1


@dataclass(frozen=True)
class ColdPools:
    """Pools in which some touched candidates are treated as cold."""

    base_RM: Tensor  # float64: the blend's score, for cold ones with the mean of what cannot be known
    phi_RMT: Tensor  # float32
    is_cold_RM: Tensor  # bool
    is_valid_RM: Tensor  # bool
    is_truth_RM: Tensor  # bool
    features_RF: Tensor  # float64


def hide_cold(sources: Sequence[Source], candidates: DomainCandidates) -> list[Source]:
    """The sources with nothing to say about cold candidates: what weights of touched ones are fitted on."""
    if not bool(candidates.is_cold_V.any()):
        return list(sources)
    nobody_V = torch.zeros_like(candidates.is_cold_V)
    return [as_if_cold(source, nobody_V, candidates.is_cold_V, candidates) for source in sources]


def fit_cold(
    sources: Sequence[Source], blend: Blend, held_out: HeldOut, candidates: DomainCandidates, *,
    size: int, share: float, cost: float, l2: float, min_users: int,
) -> ColdBlend | None:  # fmt: skip
    """Fit what a domain's blend does with cold candidates; None where too few simulated ones are right to learn from.

    Args:
        size: of a pool, for each source.
        share: of the touched candidates that a draw treats as cold.
        cost: the share that may be lost of the most hits in the first ten places, and of their most gain.
        l2: as ``fit_blend``.
        min_users: users, of all draws, whose pool holds a cold truth item.
    """
    texts_T = [k for k, source in enumerate(sources) if source.score_cold is not None]
    if not texts_T or share <= 0:
        return None
    drawn = [
        _pool_draw(sources, blend, held_out, candidates, texts_T, is_cold_V, size=size)
        for is_cold_V in draw_cold(candidates, share=share)
    ]
    pools = ColdPools(*(torch.cat(_pad([getattr(pool, name) for pool in drawn])) for name in vars(drawn[0])))
    if int((pools.is_truth_RM & pools.is_cold_RM).any(dim=1).sum()) < min_users:
        return None
    correction = fit_correction(pools, l2=l2)
    columns_T = torch.tensor(texts_T)
    return ColdBlend(columns_T, correction, choose_shift(pools, correction, cost=cost))


def draw_cold(candidates: DomainCandidates, *, share: float) -> list[Tensor]:
    """Disjoint draws of touched candidates by a hash of their number, bool [V]: always the same."""
    place_V = ((candidates.items_V * _HASH >> 20) & 0xFFFFF).double() / 2**20
    draws = range(min(NUM_DRAWS, int(1 / share)))
    touched_V = ~candidates.is_cold_V
    return [touched_V & (place_V >= draw * share) & (place_V < (draw + 1) * share) for draw in draws]


def as_if_cold(source: Source, is_cold_V: Tensor, is_absent_V: Tensor, candidates: DomainCandidates) -> Source:
    """The source with some candidates cold, and nothing to say about those that are absent."""
    fill_V = candidates.fill_V

    def score(users: UserBatch) -> BlockScores:
        own = source.score(users)
        cold = source.score_cold(users) if source.score_cold is not None and bool(is_cold_V.any()) else None

        def block(lo: int, hi: int) -> Tensor:
            cold_BV = fill_V[lo:hi] if cold is None else cold.block(lo, hi)
            scores_BV = torch.where(is_cold_V[lo:hi], cold_BV, own.block(lo, hi))
            return torch.where(is_absent_V[lo:hi], fill_V[lo:hi], scores_BV)

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            cold_P = fill_V[positions_P] if cold is None else cold.at(rows_P, positions_P)
            scores_P = torch.where(is_cold_V[positions_P], cold_P, own.at(rows_P, positions_P))
            return torch.where(is_absent_V[positions_P], fill_V[positions_P], scores_P)

        return BlockScores(block, at, own.is_personal_B, None)

    return replace(source, score=score)


def fit_correction(pools: ColdPools, *, l2: float) -> Blend:
    """The weights d: the listwise cross-entropy of the truth, touched or cold, with all other scores as they are."""
    taught_R = pools.is_truth_RM.any(dim=1)
    is_cold_RM1 = pools.is_cold_RM[taught_R].unsqueeze(2)
    mean_T, scale_T = moments(pools.phi_RMT[pools.is_cold_RM].double())
    one = torch.ones(1, dtype=torch.float64)
    mean_J, scale_J = torch.cat((mean_T, 0 * one)), torch.cat((scale_T, one))
    own_RMT = (pools.phi_RMT[taught_R] - mean_T) / scale_T
    phi_RMJ = torch.cat((own_RMT, torch.ones_like(own_RMT[:, :, :1])), dim=2) * is_cold_RM1
    mean_F, scale_F = moments(pools.features_RF)
    mean_F[-1] = 0
    all_x_RF = (pools.features_RF - mean_F) / scale_F
    truth_RM = pools.is_truth_RM[taught_R]
    gate_JF = minimise(
        phi_RMJ, all_x_RF[taught_R], ~pools.is_valid_RM[taught_R], truth_RM / truth_RM.sum(dim=1, keepdim=True),
        penalty(l2, len(mean_F)), base_RM=pools.base_RM[taught_R], is_positive=False,
    )  # fmt: skip
    low_F, high_F = all_x_RF.amin(dim=0), all_x_RF.amax(dim=0)
    return Blend(gate_JF, mean_J, scale_J, mean_F, scale_F, low_F, high_F, torch.tensor(False))


def choose_shift(pools: ColdPools, correction: Blend, *, cost: float) -> Tensor:
    """The largest shift of cold candidates that is worth 1 - ``cost`` of the best: float64 [].

    What counts is the hits in the first ten places, and their discounted gain, those on cold candidates included; the
    best may be to list none. So no more than ``cost`` is lost to them, and what they bring is not spent again.
    """
    own_RJ = user_weights(correction, pools.features_RF).double()
    own_RM = torch.einsum("rmt,rt->rm", pools.phi_RMT.double() - correction.mean_J[:-1], own_RJ[:, :-1])
    scores_RM = pools.base_RM + (own_RM + own_RJ[:, -1:]) * pools.is_cold_RM

    def worth(shifted_RM: Tensor) -> Tensor:
        listed = shifted_RM.topk(min(TOP, shifted_RM.shape[1]), dim=1)
        hits_N = (pools.is_truth_RM.gather(1, listed.indices) & (listed.values > -torch.inf)).sum(dim=0).double()
        return torch.stack((hits_N.sum(), (hits_N / torch.arange(2, len(hits_N) + 2).log2()).sum()))

    scores_RM = scores_RM.masked_fill(~pools.is_valid_RM, -torch.inf)
    without_2 = worth(scores_RM.masked_fill(pools.is_cold_RM, -torch.inf))
    worth_S2 = torch.stack([worth(scores_RM + shift * pools.is_cold_RM) for shift in SHIFTS])
    best_2 = torch.maximum(worth_S2.amax(dim=0), without_2).clamp_min(torch.finfo(torch.float64).tiny)
    least_S = (worth_S2 / best_2).amin(dim=1)
    kept_S = torch.nonzero(least_S >= 1 - cost).flatten()
    return SHIFTS[kept_S[-1] if len(kept_S) else least_S.argmax()]


def _pool_draw(
    sources: Sequence[Source], blend: Blend, held_out: HeldOut, candidates: DomainCandidates, texts_T: list[int],
    is_cold_V: Tensor, *, size: int,
) -> ColdPools:  # fmt: skip
    """The pools of one draw: what each source would list, and of the cold ones what each that reads texts would."""
    is_out_V = candidates.is_cold_V
    made_up = replace(candidates, trends_HV=candidates.trends_HV.masked_fill(is_cold_V, 0.0))
    as_drawn = [as_if_cold(source, is_cold_V, is_out_V, candidates) for source in sources]
    cold_alone = [as_if_cold(sources[k], is_cold_V, ~is_cold_V, candidates).score for k in texts_T]
    pooled = pool_held_out(as_drawn, held_out, made_up, size=size, also=cold_alone)
    is_cold_RM = pooled.is_valid_RM & is_cold_V[pooled.positions_RM]
    is_valid_RM = pooled.is_valid_RM & (~is_cold_RM | pooled.is_real_RMK[:, :, texts_T].any(dim=2))
    return ColdPools(
        _base(pooled, blend, is_cold_RM, torch.tensor(texts_T)), pooled.phi_RMJ[:, :, texts_T],
        is_cold_RM & is_valid_RM, is_valid_RM, pooled.is_truth_RM & is_valid_RM, pooled.features_RF,
    )  # fmt: skip


def _base(pooled: Pooled, blend: Blend, is_cold_RM: Tensor, columns_T: Tensor) -> Tensor:
    """The blend's score of every place, float64 [R, M]: of cold ones with the mean of what cannot be known."""
    base_RM = torch.einsum("rmj,rj->rm", pooled.phi_RMJ, user_weights(blend, pooled.features_RF))
    weights = uncorrected_weights(blend, columns_T, pooled.features_RF)
    rows_P, places_P = torch.nonzero(is_cold_RM, as_tuple=True)
    base_RM[rows_P, places_P] = cold_pair_scores(weights, pooled.phi_RMJ[rows_P, places_P], rows_P)
    return base_RM.double()


def _pad(parts: Sequence[Tensor]) -> list[Tensor]:
    """What the draws hold, [R, M, ...], at the width of the widest."""
    widest = max(part.shape[1] for part in parts)
    missing = [part.new_zeros(part.shape[0], widest - part.shape[1], *part.shape[2:]) for part in parts]
    return [torch.cat(pair, dim=1) for pair in zip(parts, missing, strict=True)]
