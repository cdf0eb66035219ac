"""Blocks of scores in, the best of each row so far kept up to date: a compiled loop over scores that lie in the cache.

Every row has a heap of its N best; its root, the worst of them, is what a score must beat. Nearly none does, and one
comparison per score, sixteen at a time, says so. Whole numbers become scores row by row, in the fastest cache.
B rows, V candidates of a block, N list length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

CHUNK = 64  # scores that are compared at once; a chunk with one that is worth a look is walked through
SMALLEST = np.finfo(np.float32).tiny  # of the numbers with full precision
NOBODY = np.iinfo(np.int64).max  # the position of a place of a heap that is still free
NO_SUM = np.iinfo(np.int32).min  # of what is never taken; sums of products of int8 do not come near

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Best:
    """The N best scores of each row and where they are: heaps, worst at the root. Free places hold -inf."""

    scores_BN: Floats
    positions_BN: Ints


def nothing_yet(num_rows: int, n: int) -> Best:
    """Heaps of free places."""
    return Best(
        np.full((num_rows, n), -np.inf, dtype=np.float32), np.full((num_rows, n), NOBODY, dtype=np.int64)
    )  # fmt: skip


def offer(best: Best, scores_BV: Floats, first: int) -> bool:
    """Take what is better than what is there, in place; ``first`` is the position of the block's first column.

    Blocks must come by ascending position: of equal scores the lower position is kept. -inf is never taken. The loop
    does not hold the interpreter's lock: threads can share out users.

    Returns:
        Whether all scores were numbers or -inf; what is kept means nothing otherwise.
    """
    return bool(_offer(best.scores_BN, best.positions_BN, scores_BV, first))


def offer_sums(best: Best, sums_BV: npt.NDArray[np.int32], scales_V: Floats, first: int) -> bool:
    """As ``offer``, of the scores sums * scales. What has the sum NO_SUM or the scale 0 is never taken."""
    return bool(_offer_sums(best.scores_BN, best.positions_BN, sums_BV, scales_V, first))


def unranked(best: Best) -> Ints:
    """Positions, ascending after -1 for free places."""
    return np.sort(np.where(best.positions_BN == NOBODY, -1, best.positions_BN), axis=1)


def ranked(best: Best) -> tuple[Ints, Floats]:
    """Positions and scores by descending score, then ascending position; -1 and -inf for free places."""
    scores_BN, positions_BN = best.scores_BN.copy(), best.positions_BN.copy()
    _sort(scores_BN, positions_BN)
    return positions_BN, scores_BN


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Compiled at the first call, which takes a second, and kept on disk where there is a place to keep it."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # neither this folder nor the user's cache can be written
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


@compiled()
def _offer(scores_BN: Floats, positions_BN: Ints, scores_BV: Floats, first: int) -> bool:
    is_sound = True
    counts_C = np.empty(scores_BV.shape[1] // CHUNK, dtype=np.int32)
    for row in range(len(scores_BV)):
        is_sound &= _offer_row(scores_BN[row], positions_BN[row], scores_BV[row], first, counts_C)
    return is_sound


@compiled()
def _offer_sums(
    scores_BN: Floats, positions_BN: Ints, sums_BV: npt.NDArray[np.int32], scales_V: Floats, first: int
) -> bool:  # fmt: skip
    is_sound = True
    width = sums_BV.shape[1]
    scores_V, counts_C = np.empty(width, dtype=np.float32), np.empty(width // CHUNK, dtype=np.int32)
    for row in range(len(sums_BV)):
        sums_V = sums_BV[row]
        for column in range(width):
            is_nothing = sums_V[column] == NO_SUM or scales_V[column] == 0
            score = np.float32(sums_V[column]) * scales_V[column]
            scores_V[column] = np.float32(-np.inf) if is_nothing else score
        is_sound &= _offer_row(scores_BN[row], positions_BN[row], scores_V, first, counts_C)
    return is_sound


@compiled()
def _offer_row(heap: Floats, places: Ints, scores_V: Floats, first: int, counts_C: npt.NDArray[np.int32]) -> bool:
    """One row's part; ``counts_C`` is memory to write into, a number per chunk."""
    is_sound = True
    bar = _bar(scores_V, len(heap)) if places[0] == NOBODY else heap[0]
    for index in range(len(counts_C)):
        # A slice, a constant length and 32 bits: what makes the compiler compare sixteen scores at once
        chunk, num_above = scores_V[index * CHUNK : (index + 1) * CHUNK], np.int32(0)
        for column in range(CHUNK):
            num_above += np.int32(not (chunk[column] <= bar))  # what is no number counts, too
        counts_C[index] = num_above
    for index in range(len(counts_C)):
        if counts_C[index] > 0:
            is_sound &= _take(heap, places, scores_V, index * CHUNK, counts_C[index], first, bar)
    rest, num_above = len(counts_C) * CHUNK, np.int32(0)
    for column in range(rest, len(scores_V)):
        num_above += np.int32(not (scores_V[column] <= bar))
    return is_sound & _take(heap, places, scores_V, rest, num_above, first, bar)


@compiled()
def _bar(scores_V: Floats, n: int) -> np.float32:
    """What at least n scores of a row are above: as many groups have a larger maximum. -inf where there are too few.

    The first block fills an empty heap; without a bar it would do so with what the next scores throw out again.
    """
    num_groups = 16 * (n // 4 + 1)
    steps = len(scores_V) // num_groups
    if steps < 2:
        return np.float32(-np.inf)
    maxima = scores_V[:num_groups].copy()
    for step in range(1, steps):
        group = scores_V[step * num_groups : (step + 1) * num_groups]
        for place in range(num_groups):  # element by element: sixteen at once
            maxima[place] = group[place] if group[place] > maxima[place] else maxima[place]
    bar = np.nextafter(np.partition(maxima, num_groups - n)[num_groups - n], np.float32(-np.inf))
    # Processors may be told to take numbers closer to 0 for 0: the bar would then lie on zeros, not below them
    return np.float32(-SMALLEST if abs(bar) < SMALLEST else bar)


@compiled()
def _take(
    heap: Floats, places: Ints, scores_V: Floats, column: int, num_above: int, first: int, bar: np.float32
) -> bool:  # fmt: skip
    """Offer the next so many scores above the bar to a row's heap; returns whether they were numbers or -inf."""
    is_sound = True
    while num_above > 0:
        score = scores_V[column]
        if not (score <= bar):
            num_above -= 1
            if not (score < np.inf):
                is_sound = False
            elif score > heap[0]:
                _replace_worst(heap, places, score, first + column)
        column += 1
    return is_sound


@compiled()
def _replace_worst(heap: Floats, places: Ints, score: float, position: int) -> None:
    """Put a score into the root's place and let it sink; among equal scores the highest position is the worst."""
    num, place = len(heap), 0
    while 2 * place + 1 < num:
        child = 2 * place + 1
        other = child + 1
        if other < num and (
            heap[other] < heap[child] or (heap[other] == heap[child] and places[other] > places[child])
        ):
            child = other
        if not (heap[child] < score or (heap[child] == score and places[child] > position)):
            break
        heap[place], places[place] = heap[child], places[child]
        place = child
    heap[place], places[place] = score, position


@compiled()
def _sort(scores_BN: Floats, positions_BN: Ints) -> None:
    """Heapsort: the worst goes to the end, what is left is a heap again."""
    num_rows, n = scores_BN.shape
    for row in range(num_rows):
        heap, places = scores_BN[row], positions_BN[row]
        for end in range(n - 1, 0, -1):
            score, position = heap[end], places[end]
            heap[end], places[end] = heap[0], places[0]
            _replace_worst(heap[:end], places[:end], score, position)
        for place in range(n):
            if places[place] == NOBODY:
                places[place] = -1
