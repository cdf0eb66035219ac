"""What a block of the encoder knows of the events besides their vectors. B batch, L length, Q positions asked for."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """Made once per forward pass and handed to every block. Q is L, or one where only some position is asked for."""

    domains_BQ: Tensor  # int64, whose adapters a position uses, 0 = none
    allowed: Tensor | None  # as in ``attention``, for Q queries: None for itself and what lies before
    time_buckets_BQL: Tensor | None  # int32; None where no block reads times
    second_order: bool  # second derivatives are wanted
    at_B1: Tensor | None = None  # int64, the position that comes out of the block; None for all

    def take(self, x_BLD: Tensor) -> Tensor:
        """The vectors of the positions that come out: [B, L, any] -> [B, Q, any]."""
        return x_BLD if self.at_B1 is None else take_positions(x_BLD, self.at_B1)


def take_positions(x_BL: Tensor, at_B1: Tensor) -> Tensor:
    """What each row of [B, L, ...] has at its own position: [B, 1, ...]."""
    rows_B1 = torch.arange(len(x_BL), device=x_BL.device).unsqueeze(1)
    taken: Tensor = x_BL[rows_B1, at_B1]
    return taken
