"""Vectors of candidates in, an index of them by cells in a model's folder, and pools from the nearest cells, out (IO).

An inverted file of faiss (Jegou et al. 2011): k-means puts every vector into one of C cells, and a query looks into
those only whose centres it likes best. Vectors are kept in eight bits: the pool is scored anew by whoever asks for it.

B users, V candidates, D width, M places of a pool.
"""

from dataclasses import dataclass
from math import log2, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from crossrec_core.errors import CheckpointError, ConfigError
from crossrec_core.tensors.folders import read_json, write_json
from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors

CELLS_FILE, ABOUT_FILE = "cells.faiss", "cells.json"
VECTORS_PER_CENTRE = 64  # that k-means looks at
ROUNDS = 10  # of k-means
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Cells:
    """An index that is mapped, not loaded."""

    index: Any  # faiss.IndexIVF
    has_zeros: bool  # whether some candidate's vector is zero

    def draw_pool(self, queries_BD: Tensor, size: int, seen: Ragged, *, num_probes: int) -> Tensor:
        """The ``size`` best unseen candidates of the nearest ``num_probes`` cells: as ``search.draw_int8_pool``.

        A user who has seen more than ``size`` of the best may get fewer.
        """
        faiss = require_faiss()
        num_users, num_items = len(queries_BD), int(self.index.ntotal)
        most_seen = int(torch.bincount(seen.rows_S, minlength=1).max())
        found = self.index.search(
            queries_BD.contiguous().numpy(), min(size + min(most_seen, size), num_items),
            params=faiss.SearchParametersIVF(nprobe=num_probes),
        )[1]  # fmt: skip
        positions_BK = torch.from_numpy(found)  # the best first, -1 where the cells had no more
        key_BK = positions_BK + torch.arange(num_users).unsqueeze(1) * num_items
        is_new_BK = (positions_BK >= 0) & ~torch.isin(key_BK, seen.rows_S * num_items + seen.values_S)
        is_kept_BK = is_new_BK & (is_new_BK.cumsum(dim=1) <= size)
        kept_BK = torch.where(is_kept_BK, positions_BK, -1).sort(dim=1).values[:, -size:]
        return torch.nn.functional.pad(kept_BK, (size - kept_BK.shape[1], 0), value=-1)


def require_faiss() -> ModuleType:
    """The package faiss.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "score.search = 'approximate': the package faiss is not installed; pip install 'crossrec[faiss]', or use "
            "'compressed'"
        ) from error
    module: ModuleType = faiss
    return module


def num_cells(num_items: int) -> int:
    """A power of two near 4 sqrt(V), and at least 39 vectors in each, as faiss advises."""
    wanted = 4 * sqrt(num_items)
    return max(1, min(2 ** round(log2(max(wanted, 1))), num_items // 39))


def build_cells(folder: Path, vectors_at: MappedVectors, *, seed: int) -> int:
    """Write ``cells.faiss`` and ``cells.json`` into a local folder; returns the number of cells.

    Vectors are read a block at a time. The same vectors, seed and number of threads give the same index.
    """
    faiss = require_faiss()
    number, num_items = num_cells(vectors_at.num_items), vectors_at.num_items
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(vectors_at.width), vectors_at.width, number, faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )  # fmt: skip
    index.cp.seed, index.cp.niter = seed, ROUNDS
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randperm(num_items, generator=generator)[: VECTORS_PER_CENTRE * number].sort().values
    index.train(vectors_at(sample).numpy())
    has_zeros = False
    for lo in range(0, num_items, BLOCK_ROWS):
        block = vectors_at(slice(lo, lo + BLOCK_ROWS))
        has_zeros = has_zeros or bool((block == 0).all(dim=1).any())
        index.add(block.numpy())
    faiss.write_index(index, str(folder / CELLS_FILE))
    write_json(folder / ABOUT_FILE, {"num_items": num_items, "num_cells": number, "has_zeros": has_zeros, "seed": seed})
    return number


def open_cells(folder: Path, num_items: int) -> Cells | None:
    """What ``build_cells`` wrote, on as many threads as torch has; None where nothing was.

    The file stays open: the copy of a remote folder goes away before the cells are asked for.

    Raises:
        CheckpointError: the index is broken, or of other candidates.
        ConfigError: the package faiss is not installed.
    """
    if not (folder / ABOUT_FILE).exists():
        return None
    faiss, about = require_faiss(), read_json(folder / ABOUT_FILE)
    try:
        index = faiss.read_index(str(folder / CELLS_FILE), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / CELLS_FILE}: cannot be read; delete it and score again") from error
    if index.ntotal != num_items:
        raise CheckpointError(
            f"{folder / CELLS_FILE}: holds {index.ntotal:,} candidates, expected {num_items:,}; delete it and score "
            "again"
        )
    faiss.omp_set_num_threads(torch.get_num_threads())
    return Cells(index, bool(about["has_zeros"]))
