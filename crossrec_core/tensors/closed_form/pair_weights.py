"""Pair sums of one domain in, item-item weights out: the trials of Markov and item-kNN, without a pass over the log.

E pairs, F pairs kept. The formulas are those of ``frames.transitions``, which makes the fits that are kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from crossrec_core.tensors.closed_form.artifacts import compress_rows

Array = npt.NDArray[Any]
SUMS = ("ahead", "behind", "ahead_across", "behind_across")
KINDS = {
    "item_num": np.int64, "next_item_num": np.int64, "item_count": np.float64, "next_item_count": np.float64,
    **dict.fromkeys(SUMS, np.float64),
}  # fmt: skip


@dataclass(frozen=True)
class PairSums:
    """Pairs of a history item and a candidate of one domain, sorted by both numbers; float64 but for the numbers."""

    nums_E: Array  # int64
    next_nums_E: Array  # int64
    counts_E: Array
    next_counts_E: Array
    ahead_E: Array
    behind_E: Array
    ahead_across_E: Array
    behind_across_E: Array


def read_pair_sums(batches: Iterable[pa.RecordBatch]) -> PairSums:
    """Rows of ``frames.transitions.to_pair_sums`` of one domain, in any order."""
    parts: dict[str, list[Array]] = {name: [np.empty(0, dtype=kind)] for name, kind in KINDS.items()}
    for batch in batches:
        for name, kind in KINDS.items():
            parts[name].append(batch[name].to_numpy(zero_copy_only=False).astype(kind, copy=False))
    columns = [np.concatenate(parts[name]) for name in KINDS]
    order = np.lexsort((columns[1], columns[0]))
    return PairSums(*(column[order] for column in columns))


def weigh_transitions(sums: PairSums, *, backward: float, alpha: float, cross_domain: float) -> Array:
    """Markov's weights_E: (ahead + backward * behind + cross_domain * the same across) / (n^alpha * m^(1 - alpha))."""
    total_E = _mixed(sums, backward, cross_domain)
    return np.asarray(total_E / (sums.counts_E**alpha * sums.next_counts_E ** (1 - alpha)))


def weigh_neighbours(sums: PairSums, *, shrink: float, cross_domain: float) -> Array:
    """Item-kNN's weights_E: users in common / (sqrt(n * m) + shrink)."""
    return np.asarray(_mixed(sums, 1.0, cross_domain) / (np.sqrt(sums.counts_E * sums.next_counts_E) + shrink))


def keep_strongest(sums: PairSums, weights_E: Array, *, max_neighbours: int) -> Array:
    """Indices of the ``max_neighbours`` largest weights above 0 per history item; of equal ones the lower candidate."""
    order = np.lexsort((sums.next_nums_E, -weights_E, sums.nums_E))
    order = order[weights_E[order] > 0]
    nums = sums.nums_E[order]
    starts = np.searchsorted(nums, nums)
    return order[np.arange(len(order)) - starts < max_neighbours]


def to_tensors(sums: PairSums, weights_E: Array, candidates_V: Tensor, *, max_neighbours: int) -> dict[str, Tensor]:
    """The strongest pairs as an artifact holds them, see ``artifacts.to_transition_tensors``."""
    kept_F = keep_strongest(sums, weights_E, max_neighbours=max_neighbours)
    positions_F = np.searchsorted(candidates_V.numpy(), sums.next_nums_E[kept_F])
    return compress_rows(sums.nums_E[kept_F], positions_F, weights_E[kept_F].astype(np.float32))


def _mixed(sums: PairSums, backward: float, cross_domain: float) -> Array:
    within_E = sums.ahead_E + backward * sums.behind_E
    return np.asarray(within_E + cross_domain * (sums.ahead_across_E + backward * sums.behind_across_E))
