"""Blocks of scores in, exact ranked lists out: seen items masked before selection, ties to the lower position.

Legend: B rows (users), V candidates, N list length.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

ScoreBlock = Callable[[int, int], Tensor]

NOTHING = float("-inf")
# Candidates of one group compete for its maximum; only the n + 1 best groups are looked into.
GROUP_SIZE = 16
# Rows with a tie across the end of the list are mended this many at a time, to bound memory.
TIED_ROWS = 64


def top_n(
    score_block: ScoreBlock, *, num_candidates: int, n: int, seen_rows: Tensor, seen_positions: Tensor, block_items: int
) -> tuple[Tensor, Tensor]:
    """The ``n`` best unseen candidates of every row, by descending score, then ascending position.

    Args:
        score_block: (lo, hi) -> float32 [B, hi - lo], the scores of the candidates at positions lo..hi; a fresh
            tensor, which is overwritten. -inf means: not a candidate of this row.
        num_candidates: V.
        n: N, at least 1.
        seen_rows, seen_positions: int64 [S], the pairs of row and position that are never selected, in any order.
        block_items: positions per block; it changes memory, never the result.

    Returns:
        positions_BN int64 and scores_BN float32; -1 and -inf where fewer than ``n`` candidates remain.

    Raises:
        ValueError: ``n`` or ``block_items`` below 1, or a score that is NaN or +inf.
    """
    if n < 1 or block_items < 1:
        raise ValueError(f"top_n: n = {n}, block_items = {block_items}; expected both at least 1")
    by_position = torch.argsort(seen_positions)
    seen_rows, seen_positions = seen_rows[by_position], seen_positions[by_position].contiguous()
    best: tuple[Tensor, Tensor] | None = None
    for lo in range(0, max(num_candidates, 1), block_items):
        hi = min(lo + block_items, num_candidates)
        scores_BV = score_block(lo, hi)
        _check_scores(scores_BV, lo, hi)
        first, last = torch.searchsorted(seen_positions, torch.tensor([lo, hi])).tolist()
        scores_BV[seen_rows[first:last], seen_positions[first:last] - lo] = NOTHING
        positions_BN, scores_BN = _top_of_block(scores_BV, n)
        best = _merge(best, (positions_BN + lo, scores_BN), n)
    assert best is not None
    positions_BN, scores_BN = best
    missing = n - scores_BN.shape[1]
    scores_BN = pad(scores_BN, (0, missing), value=NOTHING)
    return pad(positions_BN, (0, missing), value=-1).masked_fill(scores_BN == NOTHING, -1), scores_BN


def _check_scores(scores_BV: Tensor, lo: int, hi: int) -> None:
    # One sum finds NaN far faster than isnan(); it may also overflow, so a suspicious sum is looked at closely.
    if not torch.isfinite(scores_BV.sum()) and bool((scores_BV.isnan() | scores_BV.isposinf()).any()):
        raise ValueError(f"top_n: a score of positions {lo}..{hi} is NaN or +inf; expected numbers or -inf")


def _top_of_block(scores_BV: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Columns and scores of the ``min(n, V)`` best of each row, in final order."""
    if scores_BV.shape[1] <= n:
        scores_BN, columns_BN = torch.sort(scores_BV, dim=1, descending=True, stable=True)
        return columns_BN, scores_BN
    scores_BM, columns_BM = _leaders(scores_BV, n + 1)
    last_B = scores_BM[:, n - 1]
    columns_BN = columns_BM[:, :n].contiguous()
    # torch.topk gives equal scores in no order: where the first one left out equals the last one in, choose again
    is_tied_B = (scores_BM[:, n] == last_B) & (last_B > NOTHING)
    for rows in torch.nonzero(is_tied_B).flatten().split(TIED_ROWS):
        columns_BN[rows] = _lowest_columns(scores_BV[rows], last_B[rows], n)
    columns_BN = columns_BN.sort(dim=1).values
    scores_BN, order_BN = torch.sort(scores_BV.gather(1, columns_BN), dim=1, descending=True, stable=True)
    return columns_BN.gather(1, order_BN), scores_BN


def _leaders(scores_BV: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The ``m`` largest scores of each row and columns that hold them; which of equal ones is open.

    Each of the m groups with the largest maxima holds a score not below the m-th largest maximum, and no other group
    holds a larger one: the m largest scores lie in these groups.
    """
    num_columns = scores_BV.shape[1]
    num_groups = num_columns // GROUP_SIZE
    if num_groups <= 2 * m:
        scores_BM, columns_BM = scores_BV.topk(m, dim=1)
        return scores_BM, columns_BM
    num_grouped = num_groups * GROUP_SIZE
    # Group j holds the columns j, j + num_groups, ...: a maximum over rows of a matrix, which is fast
    maxima_BG = scores_BV[:, :num_grouped].unflatten(1, (GROUP_SIZE, num_groups)).amax(dim=1)
    groups_BM = maxima_BG.topk(m, dim=1, sorted=False).indices
    steps = torch.arange(0, num_grouped, num_groups)
    inside = (groups_BM[:, :, None] + steps).flatten(1)
    rest = torch.arange(num_grouped, num_columns).expand(len(inside), -1)
    columns = torch.cat([inside, rest], dim=1)
    scores_BM, chosen_BM = scores_BV.gather(1, columns).topk(m, dim=1)
    return scores_BM, columns.gather(1, chosen_BM)


def _lowest_columns(scores_BV: Tensor, last_B: Tensor, n: int) -> Tensor:
    """All columns above the n-th largest score, then the lowest columns equal to it: int64 [B, n], ascending."""
    is_above_BV = scores_BV > last_B[:, None]
    is_equal_BV = scores_BV == last_B[:, None]
    room_B = n - is_above_BV.sum(dim=1)
    is_kept_BV = is_above_BV | (is_equal_BV & (is_equal_BV.cumsum(dim=1, dtype=torch.int32) <= room_B[:, None]))
    return torch.nonzero(is_kept_BV)[:, 1].view(-1, n)


def _merge(best: tuple[Tensor, Tensor] | None, block: tuple[Tensor, Tensor], n: int) -> tuple[Tensor, Tensor]:
    """The ``n`` best of two lists; all of ``best`` lie at lower positions, so a stable sort settles ties."""
    if best is None:
        return block
    positions = torch.cat([best[0], block[0]], dim=1)
    scores = torch.cat([best[1], block[1]], dim=1)
    scores_BN, order_BN = torch.sort(scores, dim=1, descending=True, stable=True)
    return positions.gather(1, order_BN[:, :n]), scores_BN[:, :n]
