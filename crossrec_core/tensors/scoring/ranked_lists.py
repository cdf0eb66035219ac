"""Loaded models and a batch of users in, ranked lists or pair probabilities out: one pass over models and domains.

B users, V candidates, N list length, P rows of the result.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.user_batch import (
    Ragged,
    UserBatch,
    find_positions,
    take_rows,
    to_ragged,
    to_user_batch,
)
from crossrec_core.tensors.retrieval.block_scores import (
    FILL_TOP,
    ROW_TILE,
    BlockScorer,
    BlockScores,
    DomainCandidates,
    final_scores,
    of_pairs,
)
from crossrec_core.tensors.retrieval.search import EXACT, Search, find_exactly, find_in_pool, has_pool

if TYPE_CHECKING:  # one user's list is scored without pandas: seconds of start-up
    import pandas as pd

Columns = dict[str, npt.NDArray[Any]]
KEY_KINDS: dict[str, type] = {c.USER_ID: object, c.MODEL_INDEX: np.int32, c.DOMAIN_NUM: np.int32}
LIST_KINDS: dict[str, type] = {
    **KEY_KINDS, c.RANK: np.int32, c.ITEM_NUM: np.int64, c.SCORE: np.float64, c.PROBABILITY: np.float64,
    c.PATH_CODE: np.int8,
}  # fmt: skip
PAIR_KINDS: dict[str, type] = {**KEY_KINDS, c.ITEM_NUM: np.int64, c.LABEL: np.int32, c.PROBABILITY: np.float64}
COMPARED_KINDS: dict[str, type] = {**KEY_KINDS, c.NUM_LISTED: np.int32, c.NUM_FOUND: np.int32}
OWN, OTHER, POPULAR = (c.PATHS.index(path) for path in (c.OWN_HISTORY, c.OTHER_DOMAINS, c.POPULARITY))


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with the candidates it scores."""

    model_index: int
    candidates: DomainCandidates
    score: BlockScorer
    segments: tuple[str, ...] = c.USER_SEGMENTS  # whose lists it makes
    holds_rows: bool = True  # whether scoring a user takes memory for every candidate at once


def score_users(users: "pd.DataFrame", models: Sequence[LoadedModel], *, search: Search) -> "pd.DataFrame":
    """The ``n`` best unseen candidates of every user, by every model of a domain the user wants and the user's segment.

    At most ``len(users) * search.block_items`` scores are held at a time.

    Returns:
        The columns of ``rank_batch``.
    """
    batch = to_user_batch(users, sorted({model.candidates.domain_num for model in models}))
    return _to_frame(rank_batch(batch, models, search=search))


def rank_batch(batch: UserBatch, models: Sequence[LoadedModel], *, search: Search) -> Columns:
    """``score_users`` without pandas.

    Returns:
        The columns of ``LIST_KINDS``: rank from 1, probability NaN where the model has no ranker, path_code an index
        into columns.PATHS.
    """
    return _stack([part for _, part in rank_by_model(batch, models, search=search)], LIST_KINDS)


def rank_by_model(
    batch: UserBatch, models: Sequence[LoadedModel], *, search: Search
) -> Iterator[tuple[LoadedModel, Columns]]:
    """The rows of ``rank_batch`` model by model, each with what it comes from; rows in the order of users and ranks."""
    for model in models:
        rows = _wanted_rows(batch, model)
        num_held = len(model.candidates.items_V) if model.holds_rows else search.block_items
        for part in _split_rows(rows, len(batch.user_ids_B) * search.block_items, num_held):
            yield model, _rank(take_rows(batch, part, model.candidates.domain_num), model, search)


def compare_lists(users: "pd.DataFrame", models: Sequence[LoadedModel], *, search: Search) -> "pd.DataFrame":
    """How many items of each user's exact list the search finds.

    Returns:
        The columns of ``COMPARED_KINDS``; a user without a list has no row.
    """
    batch = to_user_batch(users, sorted({model.candidates.domain_num for model in models}))
    keys = list(KEY_KINDS)
    exact, found = (
        _to_frame(rank_batch(batch, models, search=how))[[*keys, c.ITEM_NUM]]
        for how in (replace(search, kind=EXACT), search)
    )
    joined = exact.merge(found, on=[*keys, c.ITEM_NUM], how="left", indicator=c.NUM_FOUND, validate="1:1")
    joined[c.NUM_FOUND] = joined[c.NUM_FOUND] == "both"
    compared = joined.groupby(keys, as_index=False).agg(
        **{c.NUM_LISTED: (c.ITEM_NUM, "size"), c.NUM_FOUND: (c.NUM_FOUND, "sum")}
    )
    return compared.astype(COMPARED_KINDS)


def score_pairs(users: "pd.DataFrame", models: Sequence[LoadedModel]) -> "pd.DataFrame":
    """The probability of every user's labelled pairs, by every model with a ranker; only candidates have one.

    ``pair_item_nums_D`` and ``pair_labels_D`` are lists of equal length.

    Returns:
        The columns of ``PAIR_KINDS``.
    """
    # Seen items too: what a source says is a share of what is said of all that the user may get
    batch = to_user_batch(users, sorted({model.candidates.domain_num for model in models}))
    parts: list[Columns] = []
    for model in models:
        domain_num = model.candidates.domain_num
        items = to_ragged(users[c.of_domain(c.PAIR_ITEM_NUMS, domain_num)])
        labels = to_ragged(users[c.of_domain(c.PAIR_LABELS, domain_num)])
        parts += _pairs(batch, model, items, labels)
    return _to_frame(_stack(parts, PAIR_KINDS))


def _rank(users: UserBatch, model: LoadedModel, search: Search) -> Columns:
    """Lists of all the users; whom a pool cannot answer is searched for exactly."""
    scores = model.score(users)
    items_V, domain_num = model.candidates.items_V, model.candidates.domain_num
    seen = find_positions(items_V, users.seen[domain_num])
    if not has_pool(search, scores):
        return _to_columns(users, model, scores, *find_exactly(search, scores, len(items_V), seen))
    positions_BN, scores_BN, holds_B = find_in_pool(search, scores, seen)
    left = torch.nonzero(~holds_B).flatten()
    if len(left):
        others = take_rows(users, left, domain_num)
        seen_left = find_positions(items_V, others.seen[domain_num])
        positions_BN[left], scores_BN[left] = find_exactly(search, model.score(others), len(items_V), seen_left)
    return _to_columns(users, model, scores, positions_BN, scores_BN)


def _to_columns(
    users: UserBatch, model: LoadedModel, scores: BlockScores, positions_BN: Tensor, scores_BN: Tensor
) -> Columns:
    items_V = model.candidates.items_V
    rows_P, places_P = torch.nonzero(positions_BN >= 0, as_tuple=True)
    positions_P, scores_P = positions_BN[rows_P, places_P], scores_BN[rows_P, places_P]
    return {
        **_keys(users, model, rows_P),
        c.RANK: (places_P + 1).int().numpy(),
        c.ITEM_NUM: items_V[positions_P].numpy(),
        c.SCORE: final_scores(scores_P, positions_P, model.candidates).numpy(),
        c.PROBABILITY: _probability(scores, rows_P, positions_P).numpy(),
        c.PATH_CODE: _paths(users, scores, model.candidates.domain_num, rows_P, scores_P).numpy(),
    }


def _pairs(batch: UserBatch, model: LoadedModel, items: Ragged, labels: Ragged) -> list[Columns]:
    rows = items.rows_S.unique()
    if not len(rows):
        return []
    users = take_rows(batch, rows, model.candidates.domain_num)
    scores = model.score(users)
    if scores.probability is None:
        return []
    is_candidate_S = torch.isin(items.values_S, model.candidates.items_V)
    row_P = torch.searchsorted(rows, items.rows_S[is_candidate_S])
    pairs = find_positions(model.candidates.items_V, Ragged(row_P, items.values_S[is_candidate_S]))
    return [
        {
            **_keys(users, model, row_P),
            c.ITEM_NUM: items.values_S[is_candidate_S].numpy(),
            c.LABEL: labels.values_S[is_candidate_S].int().numpy(),
            c.PROBABILITY: of_pairs(scores.probability, pairs.rows_S, pairs.values_S).double().numpy(),
        }
    ]


def _keys(users: UserBatch, model: LoadedModel, rows_P: Tensor) -> Columns:
    return {
        c.USER_ID: users.user_ids_B[rows_P.numpy()],
        c.MODEL_INDEX: np.full(len(rows_P), model.model_index, dtype=np.int32),
        c.DOMAIN_NUM: np.full(len(rows_P), model.candidates.domain_num, dtype=np.int32),
    }


def _probability(scores: BlockScores, rows_P: Tensor, positions_P: Tensor) -> Tensor:
    if scores.listed_probability is None:
        return torch.full((len(rows_P),), torch.nan, dtype=torch.float64)
    return of_pairs(scores.listed_probability, rows_P, positions_P).double()


def _paths(users: UserBatch, scores: BlockScores, domain_num: int, rows_P: Tensor, scores_P: Tensor) -> Tensor:
    """The evidence behind each row: a stand-in or an impersonal score is popularity, whatever the user has done."""
    knows_domain_B = (users.domains_BL == domain_num).any(dim=1)
    paths_P = torch.where(knows_domain_B[rows_P], OWN, OTHER)
    is_popular_P = (scores_P <= FILL_TOP) | ~scores.is_personal_B[rows_P]
    return torch.where(is_popular_P, POPULAR, paths_P).to(torch.int8)


def _wanted_rows(batch: UserBatch, model: LoadedModel) -> Tensor:
    """The users that want a list of the model's domain and are of a segment it serves."""
    domain_num = model.candidates.domain_num
    wanted_B = batch.wanted_B[domain_num]
    if len(model.segments) < len(c.USER_SEGMENTS):
        codes = torch.tensor([c.USER_SEGMENTS.index(segment) for segment in model.segments])
        wanted_B = wanted_B & torch.isin(batch.segment_B[domain_num], codes)
    return torch.nonzero(wanted_B).flatten()


def _split_rows(rows: Tensor, max_scores: int, num_candidates: int) -> Iterator[Tensor]:
    if len(rows):
        yield from rows.split(max(ROW_TILE, max_scores // max(num_candidates, 1)))


def _stack(parts: Sequence[Columns], kinds: Mapping[str, type]) -> Columns:
    empty: Columns = {name: np.empty(0, dtype=kind) for name, kind in kinds.items()}
    return {name: np.concatenate([part[name] for part in (empty, *parts)]) for name in kinds}


def _to_frame(columns: Columns) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(columns)
