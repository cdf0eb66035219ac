"""Columns of sequences in, batches for next-item training out; vectorised, no row is touched alone.

B batch, L length. Rows are right padded: oldest event first, zeros at the end.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

SEQUENCE_COLUMNS = ("item_nums", "domain_nums", "action_nums", "gap_buckets", "event_orders")


@dataclass(frozen=True)
class Batch:
    """Events and, at each position, what came next."""

    items_BL: Tensor  # int64, 0 = padding
    domains_BL: Tensor  # int64
    actions_BL: Tensor  # int64
    gaps_BL: Tensor  # int64
    orders_BL: Tensor  # int64, unix microseconds, or positions
    target_items_BL: Tensor  # int64, the next item, 0 = ignore
    target_domains_BL: Tensor  # int64, its domain, 0 = ignore


def to_batch(columns: Mapping[str, Tensor]) -> Batch:
    """Feed columns [B, L] -> a batch, cropped to its longest row; the target of a position is the event after it."""
    items_BL, domains_BL, actions_BL, gaps_BL, orders_BL = crop(columns)
    return Batch(
        items_BL, domains_BL, actions_BL, gaps_BL, orders_BL, shift_left(items_BL), shift_left(domains_BL)
    )  # fmt: skip


def crop(columns: Mapping[str, Tensor]) -> list[Tensor]:
    """The sequence columns [B, L], in their order, without the places that are padding in every row."""
    events = [columns[name] for name in SEQUENCE_COLUMNS]
    length = max(int((events[0] != 0).sum(dim=1).max()), 1) if len(events[0]) else 1
    return [values[:, :length] for values in events]


def keep_domain(columns: Mapping[str, Tensor], domain_num: int) -> dict[str, Tensor]:
    """Keep the events of one domain, moved together to the left: what a model without transfer may see.

    items    domains        items    domains
    7 8 9 0  1 2 1 0   ->   7 9 0 0  1 1 0 0     (domain 1)
    """
    keep_BL = columns["domain_nums"] == domain_num
    order_BL = (~keep_BL).to(torch.int8).argsort(dim=1, stable=True)
    return {name: (columns[name] * keep_BL).gather(1, order_BL) for name in SEQUENCE_COLUMNS}


def keep_targets(batch: Batch, domain_nums: Tensor) -> Batch:
    """Ignore the targets outside the wanted domains (int64 [any]); inputs stay."""
    keep_BL = torch.isin(batch.target_domains_BL, domain_nums.to(batch.target_domains_BL.device))
    return replace(
        batch,
        target_items_BL=batch.target_items_BL * keep_BL,
        target_domains_BL=batch.target_domains_BL * keep_BL,
    )


def shift_left(values_BL: Tensor) -> Tensor:
    """The value of the next position; 0 at the last one."""
    shifted_BL = torch.zeros_like(values_BL)
    shifted_BL[:, :-1] = values_BL[:, 1:]
    return shifted_BL


def is_candidate(nums: Tensor, candidates_V: Tensor) -> Tensor:
    """Whether each item number (any shape) is among the candidates, which ascend."""
    places = torch.searchsorted(candidates_V, nums.contiguous()).clamp(max=len(candidates_V) - 1)
    return candidates_V[places] == nums


def drop_without_targets(columns: Mapping[str, Tensor], domain_nums: Tensor) -> dict[str, Tensor]:
    """Drop the rows in which no event after the first one is of a wanted domain: they teach nothing."""
    keep_B = torch.isin(columns["domain_nums"][:, 1:], domain_nums).any(dim=1)
    return {name: columns[name][keep_B] for name in SEQUENCE_COLUMNS}


def bucket_by_length(
    chunks: Iterable[Mapping[str, Tensor]], *, batch_size: int, generator: Generator
) -> Iterator[dict[str, Tensor]]:
    """Cut shuffled chunks of many rows into batches of rows of like length, in shuffled order.

    Padding is what a transformer wastes its time on. Rows move inside their chunk only, and what a chunk leaves over
    goes into the next one, so that every batch but the last has ``batch_size`` rows.
    """
    left: dict[str, Tensor] = {}
    for chunk in chunks:
        rows = {name: torch.cat((left[name], chunk[name])) for name in SEQUENCE_COLUMNS} if left else dict(chunk)
        num_rows = len(rows["item_nums"])
        whole = num_rows - num_rows % batch_size
        yield from _cut({name: values[:whole] for name, values in rows.items()}, batch_size, generator)
        left = {name: values[whole:] for name, values in rows.items()}
    if left and len(left["item_nums"]):
        yield left


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``; copies to a GPU start from pinned memory and do not wait."""
    if device.type == "cpu":
        return batch
    values = (getattr(batch, field.name) for field in fields(batch))
    return Batch(*(value.contiguous().pin_memory().to(device, non_blocking=True) for value in values))


def _cut(rows: Mapping[str, Tensor], batch_size: int, generator: Generator) -> Iterator[dict[str, Tensor]]:
    by_length = (rows["item_nums"] != 0).sum(dim=1).argsort(stable=True)
    starts = torch.randperm(len(by_length) // batch_size, generator=generator) * batch_size
    for start in starts.tolist():
        picked = by_length[start : start + batch_size]
        yield {name: values[picked] for name, values in rows.items()}
