"""Ground in, when each domain's latest known event was out, and with it how training forgets."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.settings import Settings
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.inputs.forgetting import Forgetting
from jobs.ground import Ground

ROWS_AT_ONCE = 8192


def read_forgetting(settings: Settings, ground: Ground) -> Forgetting | None:
    """None where all events count alike: without a half-life, and where users are not left out by time."""
    half_life_days = settings.train.event_half_life_days
    if not half_life_days or settings.split.protocol != "time":
        return None
    last_D = last_orders(ground)
    for name, number in ground.candidates.domains.items():
        if name in settings.domains and settings.domains[name].time_unit == "order":
            last_D[number] = 0
    return Forgetting(half_life_days, last_D)


def last_orders(ground: Ground) -> Tensor:
    """The latest training event of each domain number, int64 [D]."""
    last_D = torch.zeros(ground.config.num_domains + 1, dtype=torch.int64)
    for rows in read_rows(ground, SEQUENCE_COLUMNS):
        domains, orders = rows["domain_nums"].flatten(), rows[c.EVENT_ORDERS].flatten()
        last_D.scatter_reduce_(0, domains, orders, reduce="amax")
    return last_D


def read_rows(ground: Ground, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The training sequences, a few thousand rows at a time, in the order of their files."""
    return read_batches(ground.files, columns=names, batch_size=ROWS_AT_ONCE, seed=0, epoch=0, shuffle=False)
