"""A model's scores of a batch of users in, each user's best unseen candidates out: exactly, or by way of a pool.

A pool is somewhat longer than the list, and is scored anew in float32. Compressed: products in eight bits of all
candidates draw it up. Approximate: those of the cells of an index that are nearest, where there is an index. Whoever
cannot be answered so, by a rule and not by luck, is left to the exact search.

B users, V candidates, N list length, M places of a pool, D width.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP, BlockScores, Product
from crossrec_core.tensors.retrieval.int8 import to_int8
from crossrec_core.tensors.retrieval.selection import compiled
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS, NOTHING, pool_of_sums, top_n

EXACT, COMPRESSED, APPROXIMATE = "exact", "compressed", "approximate"
PAIRS_AT_ONCE = 4096  # pairs that are scored anew together: their vectors stay in the cache

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Search:
    """How lists are found."""

    n: int
    block_items: int = BLOCK_ITEMS
    kind: str = EXACT
    oversample: float = 1.5  # M / N
    num_probes: int = 64  # cells that an approximate search looks into


def has_pool(search: Search, scores: BlockScores) -> bool:
    """Whether these scores are searched by way of a pool: those that are no product of vectors never are."""
    return search.kind != EXACT and scores.product is not None


def find_exactly(search: Search, scores: BlockScores, num_candidates: int, seen: Ragged) -> tuple[Tensor, Tensor]:
    """positions_BN and scores_BN, as ``top_n``. ``seen`` are positions."""
    return top_n(
        scores.block, num_candidates=num_candidates, n=search.n, seen_rows=seen.rows_S, seen_positions=seen.values_S,
        block_items=min(search.block_items, BLOCK_ITEMS),
    )  # fmt: skip


def find_in_pool(search: Search, scores: BlockScores, seen: Ragged) -> tuple[Tensor, Tensor, Tensor]:
    """positions_BN and scores_BN, and whose rows hold: bool [B].

    A pool knows neither stand-ins nor candidates whose vector is zero. So the row of a user with nothing but stand-ins,
    of one whose pool is shorter than a list, and of one whose last place is not above what such a candidate may have
    do not hold.

    Raises:
        ValueError: a score that is NaN or infinite.
    """
    product, size = scores.product, ceil(search.n * search.oversample)
    assert product is not None
    cells = product.cells if search.kind == APPROXIMATE else None
    if cells:
        pool_BM = cells.draw_pool(product.queries_BD, size, seen, num_probes=search.num_probes)
    else:
        pool_BM = draw_int8_pool(product, size, seen)
    scores_BM = score_pool(product, pool_BM)
    # Of equal scores the lower position comes first: the pool ascends, and the sort is stable
    scores_BM, places_BM = scores_BM.sort(dim=1, descending=True, stable=True)
    scores_BN, places_BN = scores_BM[:, : search.n], places_BM[:, : search.n]
    if not bool((scores_BN < torch.inf).all()):
        raise ValueError("find_in_pool: a score is NaN or +inf; expected numbers")
    has_zeros = cells.has_zeros if cells else bool((product.in_int8().scale_R == 0).any())
    holds_B = scores.is_personal_B & (scores_BN[:, -1] > (0 if has_zeros else FILL_TOP))
    return pool_BM.gather(1, places_BN), scores_BN, holds_B


def draw_int8_pool(product: Product, size: int, seen: Ragged) -> Tensor:
    """The ``size`` best unseen candidates in eight bits: int64 positions [B, M], ascending after -1 for want of any.

    A query's own scale makes no difference to what is better, and whole numbers sum up the same in every batch.
    """
    items = product.in_int8()
    steps_BD, _ = to_int8(product.queries_BD)
    return pool_of_sums(
        lambda lo, hi: torch._int_mm(steps_BD, items.steps_RD[lo:hi].T), scales_V=items.scale_R, size=size,
        seen_rows=seen.rows_S, seen_positions=seen.values_S,
    )  # fmt: skip


def score_pool(product: Product, pool_BM: Tensor) -> Tensor:
    """Float32 products of each user with the pool, [B, M]; -inf for places without a candidate.

    A pair is summed up the same whatever its place, so that equal vectors get equal scores.
    """
    parts = []
    for rows in torch.arange(len(pool_BM)).split(max(PAIRS_AT_ONCE // pool_BM.shape[1], 1)):
        pool_RM = pool_BM[rows]
        vectors_PD = product.vectors_at(pool_RM.clamp_min(0).flatten())
        scores_RM = torch.empty(pool_RM.shape)
        _multiply(product.queries_BD[rows].numpy(), vectors_PD.numpy(), scores_RM.numpy())
        parts.append(scores_RM.masked_fill_(pool_RM < 0, NOTHING))
    return torch.cat(parts)


@compiled(fastmath={"reassoc", "contract"})
def _multiply(queries_RD: Floats, vectors_PD: Floats, scores_RM: Floats) -> None:
    """Each query with its own M vectors, which follow each other."""
    num_rows, size = scores_RM.shape
    for row in range(num_rows):
        for place in range(size):
            score = np.float32(0)
            for column in range(queries_RD.shape[1]):
                score += queries_RD[row, column] * vectors_PD[row * size + place, column]
            scores_RM[row, place] = score
