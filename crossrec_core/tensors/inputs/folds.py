"""Sequences of the training window in, an earlier cut of them out: what was known then, and what came next.

Cross-validation over blocks of time: a fold knows what lies before its block and must foresee the block; what lies
after does not exist for it. B rows, L length, T truth items, D domain numbers (0 is padding). Rows hold the sequence
columns, int64 [B, L], oldest first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, is_candidate

ORDERS = "event_orders"
MIN_HELD_OUT_EVENTS = 3  # as leave-one-out: shorter histories only train

Columns = Mapping[str, Tensor]


@dataclass(frozen=True)
class Cut:
    """Which events of a batch of rows a fold knows, and which it must foresee: bool [B, L]."""

    is_known_BL: Tensor
    is_held_BL: Tensor


def cut_by_time(rows: Columns, *, start_D: Tensor, end_D: Tensor) -> Cut:
    """Known: before the domain's ``start_D``; held out: from there to before ``end_D`` (event orders, int64)."""
    order_BL, domains_BL = rows[ORDERS], rows["domain_nums"]
    is_event_BL = rows["item_nums"] != 0
    is_known_BL = is_event_BL & (order_BL < start_D[domains_BL])
    return Cut(is_known_BL, is_event_BL & ~is_known_BL & (order_BL < end_D[domains_BL]))


def cut_by_place(rows: Columns, *, place: int) -> Cut:
    """Leave-one-out ``place`` events from the end: hold out each domain's event there, know those before it.

    As in leave-one-out over logs that end there, a history of fewer than three events, that one included, only trains.

    domains      place 1: known, held      place 2
    1 1 2 1 1    1 1 1 1 0,  0 0 0 0 1     1 1 1 0 0,  0 0 0 1 0
    """
    is_event_BL, domains_BL = rows["item_nums"] != 0, rows["domain_nums"]
    is_known_BL, is_held_BL = torch.zeros_like(is_event_BL), torch.zeros_like(is_event_BL)
    for domain in domains_BL.unique().tolist():
        own_BL = is_event_BL & (domains_BL == domain)
        from_end_BL = own_BL.flip(1).cumsum(dim=1).flip(1)  # 1 for the latest
        is_long_B1 = own_BL.sum(dim=1, keepdim=True) - (place - 1) >= MIN_HELD_OUT_EVENTS
        is_held_BL |= own_BL & (from_end_BL == place) & is_long_B1
        is_known_BL |= own_BL & ((from_end_BL > place) | ((from_end_BL == place) & ~is_long_B1))
    return Cut(is_known_BL, is_held_BL)


def keep_events(rows: Columns, is_kept_BL: Tensor) -> dict[str, Tensor]:
    """Keep some events, moved together to the left; the rows stay."""
    order_BL = (~is_kept_BL).to(torch.int8).argsort(dim=1, stable=True)
    return {name: (rows[name] * is_kept_BL).gather(1, order_BL) for name in SEQUENCE_COLUMNS}


def truth_of(
    rows: Columns, cut: Cut, *, domain_num: int, nums_V: Tensor, new_items_only: bool, num_truth: int = 10
) -> Tensor:
    """The first ``num_truth`` distinct held-out candidates of one domain, int64 [B, T], in order, padded with 0.

    ``nums_V``: the fold's candidates, ascending. With ``new_items_only`` an item that the row knows is no truth.
    """
    items_BL = rows["item_nums"]
    own_BL = rows["domain_nums"] == domain_num
    is_held_BL = cut.is_held_BL & own_BL
    is_first_BL = _is_first(items_BL, is_held_BL | (cut.is_known_BL & own_BL) if new_items_only else is_held_BL)
    is_truth_BL = is_held_BL & is_first_BL & is_candidate(items_BL, nums_V)
    order_BL = (~is_truth_BL).to(torch.int8).argsort(dim=1, stable=True)
    truth_BL = (items_BL * is_truth_BL).gather(1, order_BL)[:, :num_truth]
    return torch.nn.functional.pad(truth_BL, (0, num_truth - truth_BL.shape[1]))


def _is_first(items_BL: Tensor, is_counted_BL: Tensor) -> Tensor:
    """Whether an event is the first of its item among the counted ones of its row."""
    counted_BL = torch.where(is_counted_BL, items_BL, 0)
    sorted_BL, order_BL = counted_BL.sort(dim=1, stable=True)
    is_new_BL = torch.ones_like(is_counted_BL)
    is_new_BL[:, 1:] = sorted_BL[:, 1:] != sorted_BL[:, :-1]
    return torch.empty_like(is_new_BL).scatter_(1, order_BL, is_new_BL) & is_counted_BL
