"""A batch in, the same batch with fewer old events to predict out: what people want today is learnt from today.

A log of years teaches a softmax the popularity of years. Leaving an event as a target with probability
2^(-age / half-life) weighs it so in expectation, and costs less than a weighted loss: what is no target is not scored.
Inputs stay whole: a user's old events still say who the user is. B batch, L length, D domain numbers.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.inputs.batches import Batch, shift_left

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Forgetting:
    """How fast, and from when on; a domain whose last order is 0 forgets nothing."""

    half_life_days: float
    last_D: Tensor  # int64, unix microseconds of each domain's latest known event


def forget(batch: Batch, how: Forgetting, generator: Generator) -> Batch:
    """Draw which events are targets this time."""
    last_BL = how.last_D[batch.target_domains_BL]
    age_days_BL = (last_BL - shift_left(batch.orders_BL)).clamp(min=0).double() / DAY_US
    share_BL = torch.where(last_BL > 0, 0.5 ** (age_days_BL / how.half_life_days), 1.0)
    keep_BL = torch.rand(share_BL.shape, generator=generator, dtype=torch.float64) < share_BL
    return replace(
        batch, target_items_BL=batch.target_items_BL * keep_BL, target_domains_BL=batch.target_domains_BL * keep_BL
    )
