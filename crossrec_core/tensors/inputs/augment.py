"""Sequence columns in, changed copies for training out: same columns, padding still at the end, nothing invented.

B rows, L length, W window. Each function takes the columns of ``batches.SEQUENCE_COLUMNS``, int64 [B, L], and a
generator, works on all rows at once and keeps a row's times in order: where events change places, gaps and times stay.
Crop, mask and reorder are those of CL4SRec (Xie et al. 2022), here as plain augmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS

GAPS, ORDERS = "gap_buckets", "event_orders"
MIN_EVENTS = 2  # fewer teach nothing: the first event has no target

Columns = Mapping[str, Tensor]


@dataclass(frozen=True)
class Augmentation:
    """How training rows are changed; shares of 0, bucket 0 and False are off."""

    crop_share: float = 0.0  # of the rows
    crop_length: float = 1.0  # of a row's events
    mask_share: float = 0.0  # of the events
    reorder_share: float = 0.0  # of the rows
    reorder_window: int = 2  # events
    shuffle_ties: bool = False  # events of one moment change places
    shuffle_within_bucket: int = 0  # gap bucket up to which they do too


def augment(rows: Columns, how: Augmentation, *, timed_nums: Tensor, generator: Generator) -> dict[str, Tensor]:
    """Apply what ``how`` switches on: crop, mask, reorder, shuffle of what came at about the same time.

    ``timed_nums``: the domain numbers whose events have times (int64 [any]).
    """
    if how.crop_share > 0:
        rows = crop(rows, share=how.crop_share, length=how.crop_length, generator=generator)
    if how.mask_share > 0:
        rows = mask_events(rows, share=how.mask_share, generator=generator)
    if how.reorder_share > 0:
        rows = reorder(rows, share=how.reorder_share, window=how.reorder_window, generator=generator)
    if how.shuffle_ties or how.shuffle_within_bucket > 0:
        rows = shuffle_ties(
            rows, within_bucket=how.shuffle_within_bucket, timed_nums=timed_nums, generator=generator
        )  # fmt: skip
    return dict(rows)


def crop(rows: Columns, *, share: float, length: float, generator: Generator) -> dict[str, Tensor]:
    """Cut a ``share`` of the rows to ``length`` (a share) of their events, in one piece from a random start.

    items          items
    7 8 9 6 0  ->  8 9 0 0 0      (length 0.5)
    """
    num_B, num_places = _num_events(rows), rows["item_nums"].shape[1]
    kept_B = (num_B * length).ceil().long().clamp(min=MIN_EVENTS).minimum(num_B)
    kept_B = torch.where(_draw(len(num_B), generator) < share, kept_B, num_B)
    start_B = (_draw(len(num_B), generator) * (num_B - kept_B + 1)).long()
    places_L = torch.arange(num_places)
    from_BL = (places_L + start_B[:, None]).clamp(max=max(num_places - 1, 0))
    is_kept_BL = places_L < kept_B[:, None]
    return {name: rows[name].gather(1, from_BL) * is_kept_BL for name in SEQUENCE_COLUMNS}


def mask_events(rows: Columns, *, share: float, generator: Generator) -> dict[str, Tensor]:
    """Leave out a ``share`` of the events, the others moved together; a row of fewer than two left stays whole.

    An event's gap then spans the events left out before it: the bucket of the sum of the shortest gaps they stand for.

    items    gaps         items    gaps
    7 8 9 0  1 5 4 0  ->  7 9 0 0  1 5 0 0      (15 + 7 seconds or more: bucket 5)
    """
    is_event_BL = rows["item_nums"] != 0
    is_kept_BL = is_event_BL & (_draw(rows["item_nums"].shape, generator) >= share)
    is_whole_B = is_kept_BL.sum(dim=1) < MIN_EVENTS
    is_kept_BL |= is_event_BL & is_whole_B[:, None]
    order_BL = (~is_kept_BL).to(torch.int8).argsort(dim=1, stable=True)
    kept = {name: (rows[name] * is_kept_BL).gather(1, order_BL) for name in SEQUENCE_COLUMNS}
    return {**kept, GAPS: _span_gaps(rows[GAPS], order_BL) * (kept["item_nums"] != 0)}


def reorder(rows: Columns, *, share: float, window: int, generator: Generator) -> dict[str, Tensor]:
    """In a ``share`` of the rows, shuffle ``window`` neighbouring events; shorter rows are shuffled whole.

    items        items
    7 8 9 6  ->  7 9 8 6      (window 2)
    """
    num_B = _num_events(rows)
    room_B = (num_B - window + 1).clamp(min=1)
    start_B = (_draw(len(num_B), generator) * room_B).long()
    is_taken_B = _draw(len(num_B), generator) < share
    places_L = torch.arange(rows["item_nums"].shape[1])
    end_B = (start_B + window).minimum(num_B)
    is_inside_BL = (places_L >= start_B[:, None]) & (places_L < end_B[:, None]) & is_taken_B[:, None]
    groups_BL = torch.where(is_inside_BL, start_B[:, None], places_L)
    return _shuffle_inside(rows, groups_BL, generator)


def shuffle_ties(
    rows: Columns, *, within_bucket: int, timed_nums: Tensor, generator: Generator
) -> dict[str, Tensor]:  # fmt: skip
    """Shuffle runs of events that each follow the one before at the same moment, or within ``within_bucket``.

    Events of one moment (a day, in a log of a day's grain) stand in the order of a hash, which means nothing. Bucket 1
    is less than a second, 17 about a day. Rows of order-only logs stay as they are.

    items    seconds         items    seconds
    7 8 9 6  0 0 300 300  -> 8 7 6 9  0 0 300 300
    """
    places_L = torch.arange(rows["item_nums"].shape[1])
    is_tie_BL = (rows[GAPS] > 0) & (rows[GAPS] <= within_bucket)
    is_tie_BL[:, 1:] |= (rows[ORDERS][:, 1:] == rows[ORDERS][:, :-1]) & (rows["item_nums"][:, 1:] != 0)
    is_tie_BL &= torch.isin(rows["domain_nums"], timed_nums)
    is_tie_BL[:, :1] = False
    first_BL = torch.where(is_tie_BL, 0, places_L)  # a run is named by the place of its first event
    return _shuffle_inside(rows, first_BL.cummax(dim=1).values, generator)


def _shuffle_inside(rows: Columns, groups_BL: Tensor, generator: Generator) -> dict[str, Tensor]:
    """Shuffle inside groups of places; group numbers ascend along a row, and padding is in no group but its own."""
    order_BL = (groups_BL + _draw(groups_BL.shape, generator)).argsort(dim=1)
    moved = {name: rows[name].gather(1, order_BL) for name in SEQUENCE_COLUMNS}
    return {**moved, GAPS: rows[GAPS], ORDERS: rows[ORDERS]}


def _span_gaps(gaps_BL: Tensor, order_BL: Tensor) -> Tensor:
    """The gap bucket of each place of ``order_BL`` since the place before it: 1 + floor(log2(1 + seconds))."""
    seconds_BL = torch.where(gaps_BL > 0, 2.0 ** (gaps_BL.double() - 1) - 1, 0.0)
    until_BL = seconds_BL.cumsum(dim=1).gather(1, order_BL)
    since_BL = until_BL.diff(dim=1, prepend=torch.zeros(len(until_BL), 1, dtype=torch.float64)).clamp(min=0)
    return 1 + (1 + since_BL).log2().floor().long()


def _num_events(rows: Columns) -> Tensor:
    return (rows["item_nums"] != 0).sum(dim=1)


def _draw(shape: int | torch.Size, generator: Generator) -> Tensor:
    """Uniform in [0, 1), float64: added to a place, it stays below the next one."""
    return torch.rand(shape, generator=generator, dtype=torch.float64)
