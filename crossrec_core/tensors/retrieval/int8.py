"""Rows of numbers in, the same rows in eight bits out, and back.

Symmetric, one scale per row: a value is q * scale, q in -127..127, scale = the row's largest magnitude / 127; the error
is at most half a scale. R rows, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 127
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Int8Rows:
    """A table in eight bits."""

    steps_RD: Tensor  # int8
    scale_R: Tensor  # float32, 0 for a row of zeros


def compress_table(rows_at: Callable[[slice], Tensor], num_rows: int) -> Int8Rows:
    """A table of float32 rows, read a block at a time, in eight bits."""
    width = rows_at(slice(0, 0)).shape[1]
    small = Int8Rows(torch.empty(num_rows, width, dtype=torch.int8), torch.empty(num_rows))
    for lo in range(0, num_rows, BLOCK_ROWS):
        rows = slice(lo, min(lo + BLOCK_ROWS, num_rows))
        small.steps_RD[rows], small.scale_R[rows] = to_int8(rows_at(rows))
    return small


def to_int8(values_RD: Tensor) -> tuple[Tensor, Tensor]:
    """Rows -> int8 [R, D] and their scales, float32 [R]; a row of zeros has scale 0."""
    values_RD = values_RD.float()
    scale_R = values_RD.abs().amax(dim=-1) / LEVELS
    steps_RD = values_RD / scale_R.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(-1)
    return steps_RD.round().clamp(-LEVELS, LEVELS).to(torch.int8), scale_R


def from_int8(steps_RD: Tensor, scale_R: Tensor) -> Tensor:
    """What ``to_int8`` made, back: float32 [R, D]."""
    return steps_RD.float() * scale_R.unsqueeze(-1)
