"""What a block of the encoder knows about the events besides their vectors. B batch, L length."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Context:
    """Made once per forward pass and handed to every block."""

    domains_BL: Tensor  # int64, whose adapters a position uses, 0 = none
    allowed: Tensor | None  # as in ``attention``: None for itself and what lies before
    time_buckets_BLL: Tensor | None  # int32; None where no block reads times
    second_order: bool  # second derivatives are wanted
