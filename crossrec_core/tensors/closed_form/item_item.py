"""Padded sequences in, item-item weights out: EASE and SLIST, solved in closed form.

B rows, L length, M modelled items (places 0..M-1, in the order of item numbers), V candidates, N neighbours.

Memory is a few dense matrices of M x M float32, whatever the length of the log: sequences are streamed, and each adds
the pairs of its own events. So M is bounded (``pick_items``), the most popular candidates first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.closed_form.sparse_scores import to_days
from crossrec_core.tensors.retrieval.topk import top_n

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Decay:
    """How fast an event of a history fades: ``per_step`` with each later event, by half in ``half_life_days``."""

    per_step: float  # in (0, 1]
    half_life_days: float = 0.0  # of the time between events; 0 leaves time out


def count_events(
    batches: Iterable[Mapping[str, Tensor]], places_I: Tensor, *, domain_num: int, num_items: int
) -> Tensor:
    """int64: the domain's events of each place; arguments as for ``fit_ease``."""
    counts = torch.zeros(num_items, dtype=torch.int64)
    for batch in batches:
        places_BL, _ = keep_events(batch, places_I, domain_num)
        counts += torch.bincount(places_BL[places_BL >= 0], minlength=num_items)
    return counts


def pick_items(counts_V: Tensor, *, max_items: int) -> Tensor:
    """Positions, ascending, of the ``max_items`` candidates with the most events; those without any are left out."""
    most_first = torch.sort(counts_V, descending=True, stable=True).indices
    touched = most_first[counts_V[most_first] > 0]
    return touched[:max_items].sort().values


def to_places(items_M: Tensor) -> Tensor:
    """Ascending item numbers -> the place of each item number up to the largest, -1 where it has none."""
    places_I = torch.full((int(items_M.max()) + 1 if len(items_M) else 1,), -1)
    places_I[items_M] = torch.arange(len(items_M))
    return places_I


def fit_ease(
    batches: Iterable[Mapping[str, Tensor]], places_I: Tensor, *, domain_num: int, num_items: int, regularisation: float
) -> Tensor:
    """Item-item ridge regression with a zero diagonal (EASE, Steck 2019).

    B = I - P / diag(P) with P = (XtX + regularisation * I)^-1, where X says which user has which item.

    Args:
        batches: item_nums and domain_nums, int64 [B, L], 0 = padding.
        places_I: see ``to_places``; events of other items, and of other domains, do not count.
        domain_num: the domain whose events count.
        num_items: M.
        regularisation: of the ridge, above 0.

    Returns:
        float32 weights_MM: from the history item (row) to the candidate (column).
    """
    weights_MM = torch.zeros(num_items, num_items)
    for batch in batches:
        places_BL, _ = keep_events(batch, places_I, domain_num)
        add_pairs(weights_MM, places_BL, _common(places_BL))
    weights_MM.diagonal().add_(regularisation)
    torch.linalg.cholesky(weights_MM, out=weights_MM)
    # Not cholesky_inverse: LAPACK's potri takes thrice as long as two solves with as many right-hand sides
    weights_MM = torch.cholesky_solve(torch.eye(num_items), weights_MM)
    weights_MM.div_(-weights_MM.diagonal().clone())
    weights_MM.fill_diagonal_(0.0)
    return weights_MM


def fit_slist(
    batches: Iterable[Mapping[str, Tensor]], places_I: Tensor, *, domain_num: int, num_items: int,
    regularisation: float, decay: Decay, whole_share: float,
) -> Tensor:  # fmt: skip
    """Ridge regression from the decayed past of an event to that event (SLIST, Choi et al. 2021).

    Minimises (1 - whole_share) |T - S B|^2 + whole_share |X - X B|^2 + regularisation |B|^2. A row of S is the past of
    one event, each item weighed by its age, T has a one at the event; X says which sequence has which item. A time
    half-life weighs the past by the time between events as well (TALE, Park et al. 2025).

    Args:
        batches: as for ``fit_ease``, with gap_buckets.
        decay: how the past fades; age 0 is the event just before.
        whole_share: in [0, 1); 0 is the next-item part alone (SLIT).

    Returns:
        float32 weights_MM, as ``fit_ease``.
    """
    left_MM, weights_MM = torch.zeros(num_items, num_items), torch.zeros(num_items, num_items)
    for batch in batches:
        places_BL, days_BL = keep_events(batch, places_I, domain_num)
        past_BLL, next_BLL = _past_and_next(places_BL, fading(days_BL, decay))
        whole_BLL = whole_share * _common(places_BL)
        add_pairs(left_MM, places_BL, (1 - whole_share) * past_BLL + whole_BLL)
        add_pairs(weights_MM, places_BL, (1 - whole_share) * next_BLL + whole_BLL)
    left_MM.diagonal().add_(regularisation)
    torch.linalg.cholesky(left_MM, out=left_MM)
    return torch.cholesky_solve(weights_MM, left_MM)


def keep_events(batch: Mapping[str, Tensor], places_I: Tensor, domain_num: int) -> tuple[Tensor, Tensor]:
    """Close up each row to the domain's events that have a place.

    Returns:
        places_BL int64, -1 after the last; days_BL float32, the days between an event and the kept one before it, as
        far as the gap buckets tell (0 in order-only logs).
    """
    items_BL, domains_BL = batch[c.ITEM_NUMS], batch[c.DOMAIN_NUMS]
    places_BL = torch.where(items_BL < len(places_I), places_I[items_BL.clamp_max(len(places_I) - 1)], -1)
    is_kept_BL = (places_BL >= 0) & (domains_BL == domain_num)
    order_BL = torch.argsort((~is_kept_BL).byte(), dim=1, stable=True)
    places_BL = torch.where(is_kept_BL, places_BL, -1).gather(1, order_BL)
    if c.GAP_BUCKETS not in batch:
        return places_BL, torch.zeros(places_BL.shape)
    moments_BL = to_days(batch[c.GAP_BUCKETS]).cumsum(dim=1).gather(1, order_BL)
    return places_BL, torch.diff(moments_BL, dim=1, prepend=moments_BL[:, :1]).masked_fill(places_BL < 0, 0.0)


def fading(days_BL: Tensor, decay: Decay) -> Tensor:
    """How much every event fades what came before it, as a positive logarithm, float32 [B, L]."""
    steps_BL = torch.full_like(days_BL, -log(decay.per_step))
    return steps_BL + days_BL * (log(2) / decay.half_life_days) if decay.half_life_days > 0 else steps_BL


def add_pairs(matrix_MM: Tensor, places_BL: Tensor, weights_BLL: Tensor) -> None:
    """Add the weight of every pair of events of a row to the cell of their places, in place."""
    rows, lefts, rights = torch.nonzero(weights_BLL, as_tuple=True)
    cells = places_BL[rows, lefts] * len(matrix_MM) + places_BL[rows, rights]
    matrix_MM.view(-1).index_add_(0, cells, weights_BLL[rows, lefts, rights])


def strongest(weights_MM: Tensor, *, max_neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``max_neighbours`` weights of each row that are farthest from zero; of equal ones the lower column.

    Returns:
        rows, columns (int64) and weights of the E pairs kept, none of them zero.
    """
    blocks = [
        _strongest_of(weights_MM[start : start + BLOCK_ROWS], max_neighbours)
        for start in range(0, len(weights_MM), BLOCK_ROWS)
    ]
    rows = [rows + place * BLOCK_ROWS for place, (rows, _, _) in enumerate(blocks)]
    nothing = torch.empty(0, dtype=torch.int64)
    return (
        torch.cat([nothing, *rows]),
        torch.cat([nothing, *(columns for _, columns, _ in blocks)]),
        torch.cat([torch.empty(0), *(weights for _, _, weights in blocks)]),
    )


def _strongest_of(weights_BM: Tensor, max_neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    nothing = torch.empty(0, dtype=torch.int64)
    columns_BN, sizes_BN = top_n(
        lambda lo, hi: weights_BM[:, lo:hi].abs(), num_candidates=weights_BM.shape[1], n=max_neighbours,
        seen_rows=nothing, seen_positions=nothing,
    )  # fmt: skip
    rows, places = torch.nonzero(sizes_BN > 0, as_tuple=True)
    columns = columns_BN[rows, places]
    return rows, columns, weights_BM[rows, columns]


def _common(places_BL: Tensor) -> Tensor:
    """1 for every two distinct items of a row (and an item with itself), counted at their first events."""
    length = places_BL.shape[1]
    earlier_LL = torch.ones(length, length, dtype=torch.bool).tril(diagonal=-1)
    is_repeat_BL = ((places_BL[:, :, None] == places_BL[:, None, :]) & earlier_LL).any(dim=2)
    is_first_BL = (places_BL >= 0) & ~is_repeat_BL
    return (is_first_BL[:, :, None] & is_first_BL[:, None, :]).float()


def _past_and_next(places_BL: Tensor, fading_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the pairs of events in StS and StT, float32 [B, L, L], summed over all targets of the row.

    An event p has faded to exp(-(f_t - f_p)) when t is the latest event of the past, where f adds up the fading. So in
    StS the events p <= q meet with exp(-(f_q - f_p)) at every target after q, faded since q for both of them.
    """
    length = places_BL.shape[1]
    total_BL = fading_BL.cumsum(1)
    faded_BLL = torch.exp(-(total_BL[:, None, :] - total_BL[:, :, None]).clamp_min(0.0))  # from p (row) to t (column)
    is_event_BL = places_BL >= 0
    has_next_BL = torch.nn.functional.pad(is_event_BL[:, 1:], (0, 1))
    from_here_LL = torch.ones(length, length).triu()
    since_BL = (faded_BLL.square() * from_here_LL * has_next_BL[:, None, :]).sum(dim=2) * is_event_BL
    upper_BLL = faded_BLL * from_here_LL * since_BL[:, None, :]
    past_BLL = upper_BLL + upper_BLL.triu(diagonal=1).transpose(1, 2)
    to_target_BLL = (faded_BLL * from_here_LL * has_next_BL[:, None, :])[:, :, :-1]
    return past_BLL, torch.nn.functional.pad(to_target_BLL, (1, 0))
