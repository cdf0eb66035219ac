"""Blocks of scores in, the best of each row so far kept up to date: a compiled loop over scores that lie in the cache.

Every row has a bar, on or above which lie N scores that it knows, and a pool of what was above the bar when it came.
A pool that is full raises the bar and loses what is no longer above it. Nearly no score is above: one comparison each,
sixteen at a time, says so, and eight answers are looked at as one whole number.

B rows, V candidates of a block, N list length, M places of a pool.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

WORD = 8  # answers of one byte that make a whole number
STRIDE = 4 * WORD  # scores that are passed over at once
GROUPS = 16  # what the groups of scores that make the first bar come in, so that they are compared sixteen at a time
MANY = 256  # a list so long is ranked by sorting it, a shorter one by counting what is better
NO_SUM = np.iinfo(np.int32).min  # of what is never taken; sums of products of int8 do not come near

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Best:
    """The N best scores of each row and where they are, among others: pools, by ascending position."""

    n: int
    scores_BM: Floats
    positions_BM: Ints
    nums_B: Ints  # how many places of the pool are taken
    bars_B: Floats  # no score of the pool is below, and none that comes and is not above will be taken


def nothing_yet(num_rows: int, n: int) -> Best:
    """Empty pools. With places for twice the list a pool is seldom full, and its bar is seldom far too low."""
    places = 2 * n + WORD
    return Best(
        n, np.empty((num_rows, places), dtype=np.float32), np.empty((num_rows, places), dtype=np.int64),
        np.zeros(num_rows, dtype=np.int64), np.full(num_rows, -np.inf, dtype=np.float32),
    )  # fmt: skip


def offer(best: Best, scores_BV: Floats, first: int) -> bool:
    """Take what is better than what is there, in place; ``first`` is the position of the block's first column.

    Blocks must come by ascending position: of equal scores the lower position is kept. -inf is never taken. The loop
    does not hold the interpreter's lock: threads can share out users.

    Returns:
        Whether all scores were numbers or -inf; what is kept means nothing otherwise.
    """
    return bool(_offer(best.scores_BM, best.positions_BM, best.nums_B, best.bars_B, scores_BV, first, best.n))


def offer_sums(best: Best, sums_BV: npt.NDArray[np.int32], scales_V: Floats, first: int) -> bool:
    """As ``offer``, of the scores sums * scales. What has the sum NO_SUM or the scale 0 is never taken."""
    return bool(
        _offer_sums(best.scores_BM, best.positions_BM, best.nums_B, best.bars_B, sums_BV, scales_V, first, best.n)
    )


def unranked(best: Best) -> Ints:
    """Positions [B, N], ascending after -1 for want of scores."""
    _leave_the_best(best.scores_BM, best.positions_BM, best.nums_B, best.bars_B, best.n)
    is_taken_BN = np.arange(best.n) < best.nums_B[:, None]
    return np.sort(np.where(is_taken_BN, best.positions_BM[:, : best.n], -1), axis=1)


def ranked(best: Best) -> tuple[Ints, Floats]:
    """Positions and scores [B, N] by descending score, then ascending position; -1 and -inf for want of scores."""
    _leave_the_best(best.scores_BM, best.positions_BM, best.nums_B, best.bars_B, best.n)
    positions_BN = np.full((len(best.nums_B), best.n), -1, dtype=np.int64)
    scores_BN = np.full(positions_BN.shape, -np.inf, dtype=np.float32)
    _rank(best.scores_BM, best.positions_BM, best.nums_B, positions_BN, scores_BN)
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
def _offer(
    scores_BM: Floats, positions_BM: Ints, nums_B: Ints, bars_B: Floats, scores_BV: Floats, first: int, n: int
) -> bool:  # fmt: skip
    is_sound = True
    marks_V = np.empty(scores_BV.shape[1], dtype=np.uint8)
    for row in range(len(scores_BV)):
        nums_B[row], bars_B[row], is_fine = _offer_row(
            scores_BM[row], positions_BM[row], nums_B[row], bars_B[row], scores_BV[row], first, n, marks_V
        )
        is_sound &= is_fine
    return is_sound


@compiled()
def _offer_sums(
    scores_BM: Floats, positions_BM: Ints, nums_B: Ints, bars_B: Floats, sums_BV: npt.NDArray[np.int32],
    scales_V: Floats, first: int, n: int,
) -> bool:  # fmt: skip
    """Whole numbers become scores row by row, in the fastest cache."""
    is_sound = True
    width = sums_BV.shape[1]
    scores_V, marks_V = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.uint8)
    for row in range(len(sums_BV)):
        sums_V = sums_BV[row]
        for column in range(width):
            is_nothing = sums_V[column] == NO_SUM or scales_V[column] == 0
            score = np.float32(sums_V[column]) * scales_V[column]
            scores_V[column] = np.float32(-np.inf) if is_nothing else score
        nums_B[row], bars_B[row], is_fine = _offer_row(
            scores_BM[row], positions_BM[row], nums_B[row], bars_B[row], scores_V, first, n, marks_V
        )
        is_sound &= is_fine
    return is_sound


@compiled()
def _offer_row(
    pool: Floats, places: Ints, num: int, bar: np.float32, scores_V: Floats, first: int, n: int,
    marks_V: npt.NDArray[np.uint8],
) -> tuple[int, np.float32, bool]:  # fmt: skip
    """One row's part; ``marks_V`` is memory to write into. Returns what the pool holds, its bar and if all is sound."""
    is_sound, limit = True, len(pool) - WORD
    if num == 0:
        bar = max(bar, _first_bar(scores_V, n))
    num_strides = len(scores_V) // STRIDE
    for column in range(num_strides * STRIDE):
        marks_V[column] = not (scores_V[column] <= bar)  # what is no number is marked, too
    words = marks_V[: num_strides * STRIDE].view(np.uint64)
    for stride in range(num_strides):
        word = stride * (STRIDE // WORD)
        if words[word] | words[word + 1] | words[word + 2] | words[word + 3]:
            for each in range(word, word + STRIDE // WORD):
                if words[each]:
                    if num > limit:
                        num, bar = _shrink(pool, places, num, bar, n, n + (limit - n) // 8)
                    # No branch within: where a score is not taken, the next one goes over it
                    for column in range(each * WORD, each * WORD + WORD):
                        score = scores_V[column]
                        pool[num], places[num] = score, first + column
                        num += not (score <= bar)
                        is_sound &= score < np.inf
    for column in range(num_strides * STRIDE, len(scores_V)):
        if num > limit:
            num, bar = _shrink(pool, places, num, bar, n, n + (limit - n) // 8)
        score = scores_V[column]
        pool[num], places[num] = score, first + column
        num += not (score <= bar)
        is_sound &= score < np.inf
    return num, bar, is_sound


@compiled()
def _shrink(pool: Floats, places: Ints, num: int, bar: np.float32, n: int, most: int) -> tuple[int, np.float32]:
    """Leave the n best and at most ``most``, in their order; returns how many, and the new bar."""
    lo, hi, num_above = _bar_between(pool, num, bar, n, most)
    if num_above <= most:
        kept = 0
        for place in range(num):
            score = pool[place]
            pool[kept], places[kept] = score, places[place]
            kept += score > lo
        return kept, lo
    # hi is the n-th best score, and more have it than there is room for: those that came first are better
    kept, num_equal = 0, n - _count_above(pool, num, hi)
    for place in range(num):
        score = pool[place]
        is_equal = score == hi and num_equal > 0
        num_equal -= is_equal
        pool[kept], places[kept] = score, places[place]
        kept += score > hi or is_equal
    return kept, hi


@compiled()
def _bar_between(scores: Floats, num: int, bar: np.float32, n: int, most: int) -> tuple[np.float32, np.float32, int]:
    """Halve what lies between a bar below n scores at least and one that is not, by their places among all numbers.

    Returns:
        The lower one, the upper one, and how many are above the lower. Where equal scores leave more than ``most``
        above it, the upper one is the n-th best score.
    """
    # What lies on the bar counts: it was there before other scores that are equal to it
    lo, hi, num_above = _to_key(bar) - 1, _to_key(np.float32(np.inf)), num
    while num_above > most and hi - lo > 1:
        middle = (lo + hi) >> 1
        count = _count_above(scores, num, _from_key(middle))
        if count >= n:
            lo, num_above = middle, count
        else:
            hi = middle
    return _from_key(lo), _from_key(hi), num_above


@compiled()
def _first_bar(scores_V: Floats, n: int) -> np.float32:
    """What at least n scores of a row are above: as many groups have a larger maximum. -inf where there are too few.

    The first block fills an empty pool; without a bar it would do so with what the next scores throw out again.
    """
    num_groups = GROUPS * (n // 4 + 1)
    steps = len(scores_V) // num_groups
    if steps < 2:
        return np.float32(-np.inf)
    maxima = scores_V[:num_groups].copy()
    for step in range(1, steps):
        group = scores_V[step * num_groups : (step + 1) * num_groups]
        for place in range(num_groups):  # element by element: sixteen at once
            maxima[place] = group[place] if group[place] > maxima[place] else maxima[place]
    if _count_above(maxima, num_groups, np.float32(-np.inf)) < n:
        return np.float32(-np.inf)
    return _bar_between(maxima, num_groups, np.float32(-np.inf), n, n + n // 8)[0]


@compiled()
def _count_above(scores: Floats, num: int, bar: np.float32) -> int:
    num_above = np.int32(0)  # 32 bits: what makes the compiler compare sixteen scores at once
    for place in range(num):
        num_above += np.int32(scores[place] > bar)
    return int(num_above)


@compiled()
def _to_key(number: np.float32) -> int:
    """Whole numbers in the order of the numbers that they stand for."""
    bits = np.float32(number).view(np.int32)
    return int(bits if bits >= 0 else bits ^ np.int32(0x7FFFFFFF))


@compiled()
def _from_key(key: int) -> np.float32:
    bits = np.int32(key)
    return np.int32(bits if bits >= 0 else bits ^ np.int32(0x7FFFFFFF)).view(np.float32)


@compiled()
def _leave_the_best(scores_BM: Floats, positions_BM: Ints, nums_B: Ints, bars_B: Floats, n: int) -> None:
    for row in range(len(nums_B)):
        if nums_B[row] > n:
            nums_B[row], bars_B[row] = _shrink(scores_BM[row], positions_BM[row], nums_B[row], bars_B[row], n, n)


@compiled()
def _rank(scores_BM: Floats, positions_BM: Ints, nums_B: Ints, positions_BN: Ints, scores_BN: Floats) -> None:
    for row in range(len(nums_B)):
        num = nums_B[row]
        pool, places, positions_N, scores_N = scores_BM[row], positions_BM[row], positions_BN[row], scores_BN[row]
        if num > MANY:
            order_N = np.argsort(-pool[:num], kind="mergesort")
            positions_N[:num], scores_N[:num] = places[order_N], pool[order_N]
        else:
            for place in range(num):
                rank = _count_above(pool, num, pool[place])
                while positions_N[rank] >= 0:  # equal scores come by ascending position
                    rank += 1
                positions_N[rank], scores_N[rank] = places[place], pool[place]
