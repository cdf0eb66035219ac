"""Rows in eight bits and back."""

import pytest
import torch

from crossrec_core.tensors.retrieval import int8
from crossrec_core.tensors.retrieval.int8 import compress_table, from_int8, to_int8


@pytest.mark.parametrize("block_rows", [1, 4, 10, 100])
def test_a_table_read_in_blocks_is_the_table_compressed_whole(
    block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(int8, "BLOCK_ROWS", block_rows)
    rows_RD = torch.randn(10, 5, generator=torch.Generator().manual_seed(2))
    rows_RD[3] = 0
    small = compress_table(lambda rows: rows_RD[rows], len(rows_RD))
    steps_RD, scale_R = to_int8(rows_RD)
    assert torch.equal(small.steps_RD, steps_RD)
    assert torch.equal(small.scale_R, scale_R)
    assert float(small.scale_R[3]) == 0
    assert bool(((from_int8(steps_RD, scale_R) - rows_RD).abs() <= scale_R[:, None] / 2 + 1e-7).all())


def test_a_table_without_rows_stays_one() -> None:
    small = compress_table(lambda rows: torch.empty(0, 5)[rows], 0)
    assert (len(small.steps_RD), len(small.scale_R)) == (0, 0)
