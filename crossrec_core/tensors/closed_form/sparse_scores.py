"""Histories and a counted or factorised model in, one score per candidate out: the closed-form models' whole inference.

Shapes: B batch, L length, V candidates, I item numbers up to the largest (row 0 is padding), K factors, E stored pairs.
Sums run in the order of a user's events on the CPU, so a score does not depend on who else is in the batch.
"""

import torch
from torch import Tensor

DAY_S = 86_400.0


def transition_scores(
    items_BL: Tensor,
    *,
    indptr: Tensor,
    positions: Tensor,
    weights: Tensor,
    num_candidates: int,
    history_decay: float,
    gaps_BL: Tensor | None = None,
    half_life_days: float = 0.0,
) -> Tensor:
    """Add up the transitions of a history: scores_BV = sum of ``history_decay ** age`` times the item's row.

    Age 0 is the latest event. Only events whose item has a row age the ones before: a model that knows one domain
    counts age within it, however many events of other domains lie between.

    Args:
        items_BL: int64 item numbers, oldest first, 0 = padding at the end; numbers past the table have no row.
        indptr: int64 [I + 1], row starts by item number.
        positions: int32 or int64 [E], candidate position of each stored pair.
        weights: float32 [E].
        num_candidates: V.
        history_decay: weight per step of age, in (0, 1].
        gaps_BL: int64 gap buckets of the events, needed where ``half_life_days`` is above 0.
        half_life_days: an event also halves in weight with every so many days before the latest one that has a row.

    Returns:
        float32 scores_BV; a row without any evidence is all zero.
    """
    items_BL = torch.where(items_BL < len(indptr) - 1, items_BL, 0)
    starts_BL = indptr[items_BL]
    counts_BL = (indptr[items_BL + 1] - starts_BL).masked_fill(items_BL == 0, 0)
    history_weights_BL = decay_by_age(counts_BL > 0, history_decay)
    if half_life_days > 0 and gaps_BL is not None:
        history_weights_BL = history_weights_BL * decay_by_days(counts_BL > 0, gaps_BL, half_life_days)
    scores_BV = torch.zeros(len(items_BL), num_candidates)
    counts = counts_BL.flatten()
    event = torch.repeat_interleave(torch.arange(len(counts)), counts)  # event behind each pair that is added
    pair = torch.arange(len(event)) - (counts.cumsum(0) - counts)[event] + starts_BL.flatten()[event]
    cell = event.div(items_BL.shape[1], rounding_mode="floor") * num_candidates + positions[pair]
    scores_BV.view(-1).index_add_(0, cell, weights[pair] * history_weights_BL.flatten()[event])
    return scores_BV


def decay_by_age(is_counted_BL: Tensor, history_decay: float) -> Tensor:
    """float32 weights_BL: ``history_decay`` to the number of counted events after this one; 0 where not counted."""
    later_BL = is_counted_BL.flip(1).cumsum(1).flip(1) - is_counted_BL.long()
    return torch.pow(history_decay, later_BL.float()) * is_counted_BL


def decay_by_days(is_counted_BL: Tensor, gaps_BL: Tensor, half_life_days: float) -> Tensor:
    """float32 weights_BL: 2^(-days / half_life_days), days before the latest counted event; 1 in order-only logs."""
    moments_BL = to_days(gaps_BL).cumsum(dim=1)
    latest_B1 = moments_BL.masked_fill(~is_counted_BL, 0.0).max(dim=1, keepdim=True).values
    return torch.exp2(-(latest_B1 - moments_BL).clamp_min(0.0) / half_life_days)


def to_days(gaps_BL: Tensor) -> Tensor:
    """Gap buckets (1 + floor(log2(1 + seconds))) -> days, float32: the least that the bucket stands for."""
    return (torch.exp2((gaps_BL - 1).clamp_min(0).float()) - 1) / DAY_S


def text_queries(items_BL: Tensor, *, vectors_IK: Tensor, history_decay: float) -> Tensor:
    """The direction of a history's texts: the sum of ``history_decay ** age`` times the item's vector, at unit length.

    Age counts the events whose item has a text, 0 for the latest.

    Args:
        items_BL: int64 item numbers, oldest first, 0 = padding at the end; numbers past the table have no text.
        vectors_IK: text vectors by item number, zero rows where there is no text.

    Returns:
        float32 queries_BK; all zero for a history without any text.
    """
    items_BL = torch.where(items_BL < len(vectors_IK), items_BL, 0)
    vectors_BLK = vectors_IK[items_BL].float()
    has_text_BL = (items_BL > 0) & (vectors_BLK != 0).any(dim=2)
    weights_BL = decay_by_age(has_text_BL, history_decay)
    queries_BK = (weights_BL.unsqueeze(2) * vectors_BLK).sum(dim=1)
    return torch.nn.functional.normalize(queries_BK, dim=1)


def mix_popularity(scores_BV: Tensor, popularity_V: Tensor, *, share: float) -> Tensor:
    """Turn each row of scores into shares and mix them: (1 - share) * scores / sum + share * popularity.

    A row without evidence (all zero) becomes share * popularity alone: the same order as the popularity.
    """
    total_B1 = scores_BV.sum(dim=1, keepdim=True)
    shares_BV = torch.where(total_B1 > 0, scores_BV / total_B1.clamp_min(torch.finfo(scores_BV.dtype).tiny), 0.0)
    return (1 - share) * shares_BV + share * popularity_V


def fold_in(
    items_BL: Tensor,
    *,
    vectors_IK: Tensor,
    gram_KK: Tensor,
    regularisation: float,
    alpha: float,
    weights_BL: Tensor | None = None,
) -> Tensor:
    """Solve for the users' factors from their histories, item factors held fixed (Hu, Koren, Volinsky 2008).

    x = (YtY + Yt (C - I) Y + regularisation * n * I)^-1 Yt C p over the n distinct known items of the history, with
    confidence C = 1 + alpha * (summed weight of the item's events) and preference p = 1: what Spark's ALS solves.

    Args:
        items_BL: int64 item numbers, 0 = padding; numbers past the table or with a zero vector are unknown.
        vectors_IK: float32 factors by item number.
        gram_KK: YtY over all items the model was fitted on.
        regularisation: ALS's regularisation, times the number of distinct items.
        alpha: confidence per unit of event weight.
        weights_BL: weight of each event, those of weight 0 are left out; None counts every event as 1.

    Returns:
        float32 users_BK; all zero for a history without a known item. Scores are users_BK @ vectors_VK.T.
    """
    items_BL = torch.where(items_BL < len(vectors_IK), items_BL, 0)
    vectors_BLK = vectors_IK[items_BL].double()
    is_known_BL = (items_BL > 0) & (vectors_BLK != 0).any(dim=2)
    if weights_BL is not None:
        is_known_BL &= weights_BL > 0
    events_BL = is_known_BL.double() if weights_BL is None else is_known_BL * weights_BL.double()
    is_first_BL = is_known_BL & ~_is_repeat(items_BL)
    extra_BL = alpha * events_BL
    gram_BKK = gram_KK.double() + torch.einsum("blk,bl,blj->bkj", vectors_BLK, extra_BL, vectors_BLK)
    penalty_B = regularisation * is_first_BL.sum(dim=1).clamp_min(1)
    gram_BKK = gram_BKK + penalty_B[:, None, None] * torch.eye(gram_KK.shape[0], dtype=torch.float64)
    wanted_BK = torch.einsum("blk,bl->bk", vectors_BLK, extra_BL + is_first_BL)
    return torch.linalg.solve(gram_BKK, wanted_BK).float()


def _is_repeat(items_BL: Tensor) -> Tensor:
    """Boolean BL: whether the item occurred earlier in the history."""
    length = items_BL.shape[1]
    earlier_LL = torch.ones(length, length, dtype=torch.bool).tril(diagonal=-1)
    return ((items_BL[:, :, None] == items_BL[:, None, :]) & earlier_LL).any(dim=2)
