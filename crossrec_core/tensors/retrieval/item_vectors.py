"""A safetensors file in, the vectors of the candidates at some positions out, one shard in memory at a time (IO).

A shard is a run of rows that is mapped when one of them is asked for, in the place of the shard before: a table of any
size takes the memory of one shard. What comes out does not depend on the size of the shards.

V candidates, D width.
"""

import json
import mmap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS

# Positions (int64, or a slice with bounds) -> vectors, float32 [.., D]
VectorsAt = Callable[[slice | Tensor], Tensor]
FLOAT_BYTES = 4


def items_of_shard(shard_bytes: int, width: int) -> int:
    """How many rows of float32 [D] a shard of so many bytes holds: whole blocks of scores, and at least one."""
    return max(shard_bytes // (FLOAT_BYTES * max(width, 1)) // BLOCK_ITEMS, 1) * BLOCK_ITEMS


class MappedVectors:
    """Rows of one float32 tensor [V, D] of a file, by position; a ``VectorsAt``."""

    def __init__(self, file: Path, name: str, *, shard_bytes: int = 0) -> None:
        """Open the file and read where the tensor lies; without ``shard_bytes`` all rows are one shard.

        The file stays open: the copy of a remote folder goes away before its rows are asked for.

        Raises:
            CheckpointError: the file or the tensor is missing or broken.
        """
        try:
            self._file = file.open("rb")
            head_bytes = int.from_bytes(self._file.read(8), "little")
            entry = json.loads(self._file.read(head_bytes))[name]
        except (OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
            raise CheckpointError(f"{file}: has no {name} that can be read; run the step that writes it") from error
        if entry["dtype"] != "F32" or len(entry["shape"]) != 2:
            raise CheckpointError(
                f"{file}: {name} is {entry['dtype']} {entry['shape']}; expected float32 rows; "
                "run the step that writes it"
            )
        self.num_items, self.width = entry["shape"]
        self._first_byte = 8 + head_bytes + entry["data_offsets"][0]
        self.shard_items = items_of_shard(shard_bytes, self.width) if shard_bytes else max(self.num_items, 1)
        self._shard, self._rows = -1, torch.empty(0, self.width)

    def __call__(self, places: slice | Tensor) -> Tensor:
        """The rows at some positions; a slice within one shard is a view of the file."""
        if isinstance(places, slice):
            return self._between(places.start, min(places.stop, self.num_items))
        if self.num_items <= self.shard_items:
            return self._map(0).index_select(0, places)
        shard_P = places // self.shard_items
        vectors_PD = torch.empty(len(places), self.width)
        for shard in shard_P.unique().tolist():
            rows = torch.nonzero(shard_P == shard).flatten()
            vectors_PD[rows] = self._map(shard).index_select(0, places[rows] - shard * self.shard_items)
        return vectors_PD

    def _between(self, lo: int, hi: int) -> Tensor:
        parts = []
        while lo < hi:
            shard, first = divmod(lo, self.shard_items)
            size = min(hi - lo, self.shard_items - first)
            parts.append(self._map(shard)[first : first + size])
            lo += size
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts) if parts else torch.empty(0, self.width)

    def _map(self, shard: int) -> Tensor:
        """The rows of a shard, float32; those of the shard before are let go."""
        if shard != self._shard:
            first = shard * self.shard_items
            size = min(self.shard_items, self.num_items - first)
            start = self._first_byte + FLOAT_BYTES * self.width * first
            spare = start % mmap.ALLOCATIONGRANULARITY
            count = size * self.width
            self._shard, self._rows = -1, torch.empty(0, self.width)
            if count:
                pages = mmap.mmap(
                    self._file.fileno(), spare + FLOAT_BYTES * count, access=mmap.ACCESS_COPY, offset=start - spare
                )
                self._rows = torch.frombuffer(pages, dtype=torch.float32, count=count, offset=spare).view(size, -1)
            self._shard = shard
        return self._rows
