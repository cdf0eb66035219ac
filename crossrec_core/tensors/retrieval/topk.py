"""Blocks of scores in, exact ranked lists out: seen items masked before selection, ties to the lower position.

Scores are numbers, or whole numbers times a scale per candidate.

Legend: B rows (users), V candidates, N list length.
"""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from crossrec_core.tensors.retrieval.selection import NO_SUM, Best, nothing_yet, offer, offer_sums, ranked, unranked

ScoreBlock = Callable[[int, int], Tensor]
OfferBlock = Callable[[Best, npt.NDArray[Any], int], bool]

NOTHING = float("-inf")
# A block of a few hundred users is still in the cache when it is looked through
BLOCK_ITEMS = 2048


def top_n(
    score_block: ScoreBlock, *, num_candidates: int, n: int, seen_rows: Tensor, seen_positions: Tensor,
    block_items: int = BLOCK_ITEMS,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The ``n`` best unseen candidates of every row, by descending score, then ascending position.

    Args:
        score_block: (lo, hi) -> float32 [B, hi - lo], the scores of the candidates at positions lo..hi; a fresh
            tensor, which is overwritten. -inf means: not a candidate of this row.
        num_candidates: V.
        n: N, at least 1.
        seen_rows, seen_positions: int64 [S], the pairs of row and position that are never selected, in any order.
        block_items: positions per block; it changes memory and speed, never the result.

    Returns:
        positions_BN int64 and scores_BN float32; -1 and -inf where fewer than ``n`` candidates remain.

    Raises:
        ValueError: ``n`` or ``block_items`` below 1, or a score that is NaN or +inf.
    """
    best = _walk(
        score_block, offer, NOTHING, num_candidates=num_candidates, n=n, seen_rows=seen_rows,
        seen_positions=seen_positions, block_items=block_items,
    )  # fmt: skip
    positions_BN, scores_BN = ranked(best)
    return torch.from_numpy(positions_BN), torch.from_numpy(scores_BN)


def pool_of_sums(
    sum_block: ScoreBlock, *, scales_V: Tensor, size: int, seen_rows: Tensor, seen_positions: Tensor,
    block_items: int = BLOCK_ITEMS,
) -> Tensor:  # fmt: skip
    """As ``top_n``, where scores are sums * scales, no candidate of scale 0 is selected, and nothing is ranked.

    Args:
        sum_block: (lo, hi) -> int32 [B, hi - lo], a fresh tensor, which is overwritten.
        scales_V: float32, at least 0.

    Returns:
        positions_BM, int64, ascending after -1 where fewer than ``size`` candidates remain.
    """
    scales = scales_V.numpy()

    def offer_block(best: Best, sums_BV: npt.NDArray[Any], lo: int) -> bool:
        return offer_sums(best, sums_BV, scales[lo : lo + sums_BV.shape[1]], lo)

    best = _walk(
        sum_block, offer_block, NO_SUM, num_candidates=len(scales_V), n=size, seen_rows=seen_rows,
        seen_positions=seen_positions, block_items=block_items,
    )  # fmt: skip
    return torch.from_numpy(unranked(best))


def _walk(
    score_block: ScoreBlock, offer_block: OfferBlock, nothing: float, *, num_candidates: int, n: int,
    seen_rows: Tensor, seen_positions: Tensor, block_items: int,
) -> Best:  # fmt: skip
    if n < 1 or block_items < 1:
        raise ValueError(f"top_n: n = {n}, block_items = {block_items}; expected both at least 1")
    by_position = torch.argsort(seen_positions)
    seen_rows, seen_positions = seen_rows[by_position], seen_positions[by_position].contiguous()
    best: Best | None = None
    for lo in range(0, max(num_candidates, 1), block_items):
        hi = min(lo + block_items, num_candidates)
        scores_BV = score_block(lo, hi).contiguous()
        first, last = torch.searchsorted(seen_positions, torch.tensor([lo, hi])).tolist()
        scores_BV[seen_rows[first:last], seen_positions[first:last] - lo] = nothing
        best = best or nothing_yet(len(scores_BV), n)
        if not offer_block(best, scores_BV.detach().numpy(), lo):
            raise ValueError(f"top_n: a score of positions {lo}..{hi} is NaN or +inf; expected numbers or -inf")
        del scores_BV  # the next block is written where this one lies, in the cache
    assert best is not None
    return best
