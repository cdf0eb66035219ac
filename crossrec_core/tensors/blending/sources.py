"""Block scorers of several models in, what each says about a candidate out: phi, which a blend weighs.

B users, V candidates, K models, H half-lives of popularity, J = K + 2 H, P pairs of a user and a candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from crossrec_core.tensors.blending.blend import user_features
from crossrec_core.tensors.inputs.user_batch import Ragged, UserBatch, find_positions
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP, ROW_TILE, BlockScorer, BlockScores, DomainCandidates
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS

# Share of every distribution that is spread evenly, so that no candidate has probability 0
SPREAD = 0.1
# Damps the reciprocal rank: first and second differ by a twentieth
RANK_DAMPING = 20.0


@dataclass(frozen=True)
class Source:
    """A personal model. ``is_logit``: its scores are logits of a softmax; else they are weights, shares of their sum;
    negative ones count as nothing.

    ``counts_mass``: the sum of its weights says how much it knows about the user. ``score_cold``: its scores were every
    candidate cold; None where it would have nothing to say.
    """

    name: str
    score: BlockScorer
    is_logit: bool
    counts_mass: bool = False
    score_cold: BlockScorer | None = None


@dataclass(frozen=True)
class Evidence:
    """What the sources say about a batch of users. phi: log p by model, log p by half-life, 1 / rank by half-life."""

    sources: tuple[Source, ...]
    scored: tuple[BlockScores, ...]
    totals: tuple[Tensor, ...]  # per model, float32 [B]: log of the sum of exponentials, or sum, of visible scores
    trend_phi_JV: Tensor  # float32 [2 H, V]: the same for every user
    is_personal_B: Tensor  # bool: whether any model's scores come from this user's events
    features_BF: Tensor  # float64, as ``blend.user_features``

    def model_block(self, k: int, lo: int, hi: int) -> Tensor:
        """log p by model k at positions lo..hi: float32 [B, hi - lo]."""
        return self.said(k, lo, hi)[0]

    def said(self, k: int, lo: int, hi: int) -> tuple[Tensor, Tensor]:
        """``model_block``, and whether the model has something to say: bool [B, hi - lo]."""
        scores_BV = self.scored[k].block(lo, hi)
        return self._log_p(k, scores_BV, self.totals[k][:, None]), scores_BV > FILL_TOP

    def at(self, rows_P: Tensor, positions_P: Tensor) -> Tensor:
        """phi of pairs: float32 [P, J]."""
        return self.said_at(rows_P, positions_P)[0]

    def said_at(self, rows_P: Tensor, positions_P: Tensor) -> tuple[Tensor, Tensor]:
        """phi of pairs, and which models have something to say: float32 [P, J] and bool [P, K]."""
        scores_K = [scores.at(rows_P, positions_P) for scores in self.scored]
        own = [self._log_p(k, scores_P, self.totals[k][rows_P]) for k, scores_P in enumerate(scores_K)]
        phi_PJ = torch.cat((torch.stack(own, dim=1), self.trend_phi_JV[:, positions_P].T), dim=1)
        return phi_PJ, torch.stack([scores_P > FILL_TOP for scores_P in scores_K], dim=1)

    def _log_p(self, k: int, scores: Tensor, total: Tensor) -> Tensor:
        """Where a model has nothing to say every candidate is as likely as the next."""
        num_candidates = self.trend_phi_JV.shape[1]
        is_real = (scores > FILL_TOP) & torch.isfinite(total)
        if self.sources[k].is_logit:
            return torch.where(is_real, scores - total, -torch.tensor(float(num_candidates)).log())
        p = torch.where(is_real, scores.clamp_min(0) / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
        return _spread_log(p, num_candidates)


def gather_evidence(
    sources: Sequence[Source], users: UserBatch, candidates: DomainCandidates, trend_phi_JV: Tensor
) -> Evidence:
    """Score the users by every source, and sum what each says over the candidates that the user may get.

    Seen items have no part in the sums: a model that expects repeats would otherwise lose its voice on the rest.
    ``trend_phi_JV`` is that of ``trend_phi``, made once for all batches.
    """
    seen = find_positions(candidates.items_V, users.seen.get(candidates.domain_num, _nothing()))
    scored = [source.score(users) for source in sources]
    num_users, num_candidates = len(users.items_BL), len(candidates.items_V)
    totals = [
        _total(source.is_logit, scores, seen, num_users, num_candidates)
        for source, scores in zip(sources, scored, strict=True)
    ]
    mass_B = torch.zeros(num_users)
    is_personal_B = torch.zeros(num_users, dtype=torch.bool)
    for source, scores, total_B in zip(sources, scored, totals, strict=True):
        mass_B += total_B if source.counts_mass else 0
        is_personal_B |= scores.is_personal_B
    features_BF = user_features(users, mass_B, domain_num=candidates.domain_num)
    return Evidence(tuple(sources), tuple(scored), tuple(totals), trend_phi_JV, is_personal_B, features_BF)


def trend_phi(trends_HV: Tensor) -> Tensor:
    """log p and the damped reciprocal rank by each popularity: float32 [2 H, V]. Equal shares have one rank."""
    ranks = []
    for trend_V in trends_HV:
        shares, place_V = torch.unique(trend_V, return_inverse=True)
        ranks.append(1 / (RANK_DAMPING + (len(shares) - place_V).float()))
    return torch.cat((_spread_log(trends_HV, trends_HV.shape[1]), torch.stack(ranks)))


def _total(is_logit: bool, scores: BlockScores, seen: Ragged, num_users: int, num_candidates: int) -> Tensor:
    """Rows are reduced in whole tiles: a reduction over few rows may be split otherwise, and round otherwise."""
    absent = -torch.inf if is_logit else 0.0
    parts = []
    for lo in range(0, num_candidates, BLOCK_ITEMS):
        hi = min(lo + BLOCK_ITEMS, num_candidates)
        block_BV = scores.block(lo, hi)
        block_BV.masked_fill_(block_BV <= (FILL_TOP if is_logit else 0.0), absent)
        is_here_S = (seen.values_S >= lo) & (seen.values_S < hi)
        block_BV[seen.rows_S[is_here_S], seen.values_S[is_here_S] - lo] = absent
        padded_BV = pad(block_BV, (0, 0, 0, -num_users % ROW_TILE))
        parts.append((torch.logsumexp(padded_BV, dim=1) if is_logit else padded_BV.sum(dim=1))[:num_users])
    stacked = torch.stack(parts)
    return torch.logsumexp(stacked, dim=0) if is_logit else stacked.sum(dim=0)


def _spread_log(p: Tensor, num_candidates: int) -> Tensor:
    return ((1 - SPREAD) * p + SPREAD / num_candidates).log()


def _nothing() -> Ragged:
    empty = torch.empty(0, dtype=torch.int64)
    return Ragged(empty, empty)
