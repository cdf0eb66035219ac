"""Rows of a counted or factorised model in, its artifact folder out: safetensors and model.json (IO).

V candidates by position, I item numbers up to the largest, K factors, E stored pairs. Rows come as Arrow batches and
leave as compact arrays batch by batch; they are sorted here, so the files do not depend on the order of rows.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.tensors.folders import replace_folder, write_json
from crossrec_core.tensors.network.checkpoint import About

Array = npt.NDArray[Any]


def save_artifact(folder: str, about: About, tensors: Mapping[str, Tensor]) -> None:
    """Write ``weights.safetensors`` and ``model.json`` into a folder (path or URL), all or nothing."""
    contents = {name: values.contiguous() for name, values in tensors.items()}
    save_files(folder, about, lambda staging: save_file(contents, staging / "weights.safetensors"))


def save_files(folder: str, about: About, write: Callable[[Path], None]) -> None:
    """Write what ``write`` puts into a local folder, and ``model.json``, all or nothing."""
    with replace_folder(folder) as staging:
        write(staging)
        write_json(staging / "model.json", asdict(about))


def to_score_tensors(batches: Iterable[pa.RecordBatch], candidates_V: Tensor) -> dict[str, Tensor]:
    """item_num and score of one domain -> ``scores_V`` float32; candidates without a row score 0.

    Raises:
        LakeError: a row of an item that is no candidate.
    """
    nums, scores = _columns(batches, {c.ITEM_NUM: np.int64, c.SCORE: np.float32})
    scores_V = np.zeros(len(candidates_V), dtype=np.float32)
    scores_V[_positions(nums, candidates_V, "item_scores")] = scores
    return {"scores_V": torch.from_numpy(scores_V)}


def to_transition_tensors(batches: Iterable[pa.RecordBatch], candidates_V: Tensor) -> dict[str, Tensor]:
    """item_num, next_item_num and weight of one domain -> rows by item number, compressed.

    Returns:
        indptr int64 [I + 2], positions int32 [E] (ascending within a row), weights float32 [E].

    Raises:
        LakeError: a row that leads to an item that is no candidate.
    """
    kinds = {c.ITEM_NUM: np.int64, c.NEXT_ITEM_NUM: np.int64, c.WEIGHT: np.float32}
    nums, next_nums, weights = _columns(batches, kinds)
    return compress_rows(nums, _positions(next_nums, candidates_V, "transitions"), weights)


def compress_rows(nums: Array, positions: Array, weights: Array) -> dict[str, Tensor]:
    """Item number, candidate position and weight of each stored pair -> as ``to_transition_tensors``."""
    positions = positions.astype(np.int32)
    order = np.lexsort((positions, nums))
    counts = np.bincount(nums, minlength=1)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return {
        "indptr": torch.from_numpy(indptr),
        "positions": torch.from_numpy(positions[order]),
        "weights": torch.from_numpy(weights[order].astype(np.float32, copy=False)),
    }


def to_factor_tensors(batches: Iterable[pa.RecordBatch], candidates_V: Tensor) -> dict[str, Tensor]:
    """item_num and vector -> ``all_vectors_IK`` by item number (0 rows for unknown), ``vectors_VK``, ``gram_KK``."""
    kept = [
        (batch[c.ITEM_NUM].to_numpy(), pc.list_flatten(batch[c.VECTOR]).to_numpy().astype(np.float32))
        for batch in batches
        if batch.num_rows
    ]
    largest = max([int(candidates_V.max()), *(int(nums.max()) for nums, _ in kept)])
    width = len(kept[0][1]) // len(kept[0][0]) if kept else 1
    all_vectors_IK = torch.zeros(largest + 1, width)
    for nums, flat in kept:
        all_vectors_IK[torch.from_numpy(nums.copy())] = torch.from_numpy(flat.copy()).view(-1, width)
    gram_KK = (all_vectors_IK.double().T @ all_vectors_IK.double()).float()
    return {"all_vectors_IK": all_vectors_IK, "vectors_VK": all_vectors_IK[candidates_V], "gram_KK": gram_KK}


def _columns(batches: Iterable[pa.RecordBatch], kinds: Mapping[str, Any]) -> list[Array]:
    """The named columns of all batches, each as one array of its kind."""
    parts: dict[str, list[Array]] = {name: [np.empty(0, dtype=kind)] for name, kind in kinds.items()}
    for batch in batches:
        for name, kind in kinds.items():
            parts[name].append(batch[name].to_numpy(zero_copy_only=False).astype(kind, copy=False))
    return [np.concatenate(parts[name]) for name in kinds]


def _positions(nums: Array, candidates_V: Tensor, table: str) -> Array:
    """Positions among the candidates (ascending)."""
    items_V = candidates_V.numpy()
    positions = np.searchsorted(items_V, nums).clip(max=max(len(items_V) - 1, 0))
    strangers = np.flatnonzero(items_V[positions] != nums)
    if len(strangers):
        raise LakeError(
            f"{table}: item number {nums[strangers[0]]} is no candidate of its domain; expected a row of "
            "item_popularity for each; run jobs/prepare.py, then jobs/fit_baselines.py again"
        )
    return positions
