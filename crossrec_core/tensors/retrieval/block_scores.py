"""Scores of a batch of users, block by block of candidates, and what stands in where a model has nothing to say.

B users, V candidates of one domain, P pairs of a user and a candidate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from crossrec_core.tensors.inputs.user_batch import UserBatch
from crossrec_core.tensors.probability.likes import Likes, likes_of
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.retrieval.cells import Cells
from crossrec_core.tensors.retrieval.int8 import Int8Rows
from crossrec_core.tensors.retrieval.item_vectors import VectorsAt

# A matrix product may round differently for another number of rows; whole tiles keep a user's scores the same.
ROW_TILE = 64
# Stand-ins for a score lie at or below this: one apart, the most popular candidate highest. float32 holds every whole
# number from here to -2^24, so up to eight million candidates have stand-ins of their own.
FILL_TOP = -float(2**23)


@dataclass(frozen=True)
class Product:
    """Scores that are products of vectors, wherever a model has something to say: what ``search`` can shorten."""

    queries_BD: Tensor
    vectors_at: VectorsAt
    in_int8: Callable[[], Int8Rows]  # the candidates' vectors in eight bits, made when first asked for, and kept
    cells: Cells | None = None  # an index of them, where one was built


@dataclass(frozen=True)
class BlockScores:
    """One model's scores of one batch of users."""

    block: Callable[[int, int], Tensor]  # positions lo..hi -> float32 [B, hi - lo], fresh; stand-ins <= FILL_TOP
    at: Callable[[Tensor, Tensor], Tensor]  # int64 rows_P, positions_P -> float32 [P], as ``block`` up to rounding
    is_personal_B: Tensor  # bool: whether the model's scores come from this user's events
    # int64 rows_P, positions_P -> float64 [P] in (0, 1): among labelled pairs, and among all unseen candidates
    probability: Callable[[Tensor, Tensor], Tensor] | None
    listed_probability: Callable[[Tensor, Tensor], Tensor] | None = None
    product: Product | None = None


@dataclass(frozen=True)
class DomainCandidates:
    """The candidates of one domain, ascending by item number, and how to fill lists from them."""

    domain_num: int
    items_V: Tensor  # int64
    popularity_V: Tensor  # float32, share of the domain's recent event weight
    fill_V: Tensor  # float32 stand-ins: the more popular the higher, ties to the lower position
    trends_HV: Tensor  # float32, popularity by each half-life of the blend
    events_V: Tensor  # float32, share of the domain's known events; the recent one where only that is known
    is_cold_V: Tensor  # bool: nobody is known to have touched it
    likes: Likes | None = None  # where the domain is rated


BlockScorer = Callable[[UserBatch], BlockScores]


def candidates_of(candidates: Candidates, domain_num: int) -> DomainCandidates:
    """One domain's candidates with their stand-ins."""
    popularity_V = candidates.popularity[domain_num]
    places_V = torch.empty(len(popularity_V))
    by_popularity = torch.sort(popularity_V, descending=True, stable=True).indices
    places_V[by_popularity] = torch.arange(len(popularity_V), dtype=torch.float32)
    items_V, trends_HV = candidates.items[domain_num], candidates.trends[domain_num]
    events_V = candidates.events.get(domain_num, popularity_V)
    is_cold_V = ~candidates.is_touched(domain_num)
    likes = None
    if domain_num in candidates.likes:
        likes = likes_of(candidates.likes[domain_num], candidates.like_strengths[domain_num])
    return DomainCandidates(
        domain_num, items_V, popularity_V, FILL_TOP - places_V, trends_HV, events_V, is_cold_V, likes
    )


def final_scores(scores_P: Tensor, positions_P: Tensor, candidates: DomainCandidates) -> Tensor:
    """Scores as readers get them, float64: a stand-in becomes popularity - 1, in [-1, 0), which keeps its order."""
    fill_P = candidates.popularity_V[positions_P].double() - 1
    return torch.where(scores_P <= FILL_TOP, fill_P, scores_P.double())


def with_fill(scores_BV: Tensor, has_score_B: Tensor, fill_V: Tensor) -> Tensor:
    """Overwrite the rows the model has nothing to say about with the stand-ins, in place."""
    if not bool(has_score_B.all()):
        scores_BV[~has_score_B] = fill_V
    return scores_BV


def pad_rows(matrix: Tensor) -> Tensor:
    """Add rows of zeros up to a whole number of tiles."""
    return pad(matrix, (0, 0, 0, -len(matrix) % ROW_TILE))


def of_pairs(say: Callable[[Tensor, Tensor], Tensor], rows_P: Tensor, positions_P: Tensor) -> Tensor:
    """What ``say`` gives for each pair, the same to the last bit whoever else is asked for: in whole tiles.

    torch rounds the last few numbers of an array, and those of a thread's share of it, otherwise than the rest.
    """
    missing = -len(rows_P) % (ROW_TILE * torch.get_num_threads())
    return say(pad(rows_P, (0, missing)), pad(positions_P, (0, missing)))[: len(rows_P)]
