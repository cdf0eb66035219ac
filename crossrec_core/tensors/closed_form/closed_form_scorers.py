"""Artifacts of the closed-form models in, block scorers out (IO: memory-mapped files).

B users, L length, V candidates, K factors or text dimensions, D domains, A actions. A model that has nothing to say
about a candidate leaves it to the stand-ins of ``block_scores``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossrec_core.tensors.closed_form.sparse_scores import fold_in, mix_popularity, text_queries, transition_scores
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.inputs.user_batch import UserBatch
from crossrec_core.tensors.retrieval.block_scores import (
    BlockScorer,
    BlockScores,
    DomainCandidates,
    Product,
    pad_rows,
    with_fill,
)
from crossrec_core.tensors.retrieval.cells import Cells, open_cells
from crossrec_core.tensors.retrieval.int8 import Int8Rows, compress_table
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors, VectorsAt

WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class ItemFactors:
    """The candidates' vectors, the same in eight bits, and an index of them where one was built."""

    vectors_at: VectorsAt
    in_int8: Callable[[], Int8Rows]
    cells: Cells | None


def load_item_scores(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a model that scores an item the same for every user: nothing it says is personal."""
    scores_V = read_tensors(folder / WEIGHTS_FILE)["scores_V"]

    def score(users: UserBatch) -> BlockScores:
        num_users = len(users.items_BL)
        is_personal_B = torch.zeros(num_users, dtype=torch.bool)
        return BlockScores(
            block=lambda lo, hi: scores_V[lo:hi].repeat(num_users, 1),
            at=lambda rows_P, positions_P: scores_V[positions_P],
            is_personal_B=is_personal_B,
            probability=None,
        )

    return score


def load_transitions(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load an item-item model. Candidates that no event of the user leads to are filled by popularity.

    So are those that the events together speak against: EASE and SLIST have weights below zero.
    With a popularity share the model has a score for users without evidence too; it is then not personal.
    """
    weights = read_tensors(folder / WEIGHTS_FILE)
    share = float(settings.get("popularity_share", 0.0))

    def score(users: UserBatch) -> BlockScores:
        scores_BV = transition_scores(
            users.items_BL,
            indptr=weights["indptr"],
            positions=weights["positions"],
            weights=weights["weights"],
            num_candidates=len(candidates.items_V),
            history_decay=float(settings["history_decay"]),
            gaps_BL=users.gaps_BL,
            half_life_days=float(settings.get("history_half_life_days", 0.0)),
        )
        is_personal_B = (scores_BV > 0).any(dim=1)
        if share > 0:
            scores_BV = mix_popularity(scores_BV, weights["scores_V"], share=share)

        def block(lo: int, hi: int) -> Tensor:
            part_BV = scores_BV[:, lo:hi]
            return torch.where(part_BV > 0, part_BV, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            part_P = scores_BV[rows_P, positions_P]
            return torch.where(part_P > 0, part_P, candidates.fill_V[positions_P])

        return BlockScores(block, at, is_personal_B, None)

    return score


def load_factors(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a factor model: a user's factors are solved for from the events; users without a known item are filled."""
    weights = read_tensors(folder / WEIGHTS_FILE)
    items = _map_items(folder, settings)

    def score(users: UserBatch) -> BlockScores:
        users_BK = _solve_users(users, users.items_BL, weights, settings)
        return _factor_scores(users_BK, items, candidates)

    return score


def load_mapped_factors(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load EMCDR: users with events in the domain have factors of its own, others those mapped from elsewhere.

    Users without a known item anywhere are filled.
    """
    weights, items = read_tensors(folder / WEIGHTS_FILE), _map_items(folder, settings)
    source = {"all_vectors_IK": weights["source_vectors_IK"], "gram_KK": weights["source_gram_KK"]}
    shared = {name: values for name, values in weights.items() if name == "action_weights_DA"}

    def score(users: UserBatch) -> BlockScores:
        is_own_BL = users.domains_BL == candidates.domain_num
        own_BK = _solve_users(users, users.items_BL.masked_fill(~is_own_BL, 0), weights, settings)
        other_BK = _solve_users(users, users.items_BL.masked_fill(is_own_BL, 0), source | shared, settings)
        mapped_BK = (pad_rows(other_BK) @ weights["mapping_KK"])[: len(other_BK)]
        has_own_B1 = (own_BK != 0).any(dim=1, keepdim=True)
        return _factor_scores(torch.where(has_own_B1, own_BK, mapped_BK), items, candidates)

    return score


def load_text_vectors(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load text-kNN: cosine of a candidate's text and the history's; candidates or users without text are filled."""
    weights, items = read_tensors(folder / WEIGHTS_FILE), _map_items(folder, settings)
    has_text_V = (weights["vectors_VK"] != 0).any(dim=1)

    def score(users: UserBatch) -> BlockScores:
        queries_BK = text_queries(
            users.items_BL, vectors_IK=weights["all_vectors_IK"], history_decay=float(settings["history_decay"])
        )
        scores = _factor_scores(queries_BK, items, candidates)

        def block(lo: int, hi: int) -> Tensor:
            return torch.where(has_text_V[lo:hi], scores.block(lo, hi), candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            return torch.where(has_text_V[positions_P], scores.at(rows_P, positions_P), candidates.fill_V[positions_P])

        return BlockScores(block, at, scores.is_personal_B, None, product=scores.product)

    return score


def _solve_users(users: UserBatch, items_BL: Tensor, weights: dict[str, Tensor], settings: dict[str, Any]) -> Tensor:
    """Factors of the users from these of their events; an action counts as much as its weight in its domain."""
    table_DA = weights.get("action_weights_DA")
    return fold_in(
        items_BL,
        vectors_IK=weights["all_vectors_IK"],
        gram_KK=weights["gram_KK"],
        regularisation=float(settings["regularisation"]),
        alpha=float(settings["alpha"]),
        weights_BL=None if table_DA is None else _look_up(table_DA, users.domains_BL, users.actions_BL),
    )


def _look_up(table_DA: Tensor, domains_BL: Tensor, actions_BL: Tensor) -> Tensor:
    """Weights of events by domain and action; those newer than the table count as 1."""
    is_known_BL = (domains_BL < table_DA.shape[0]) & (actions_BL < table_DA.shape[1])
    return torch.where(is_known_BL, table_DA[domains_BL * is_known_BL, actions_BL * is_known_BL], 1.0)


def _map_items(folder: Path, settings: dict[str, Any]) -> ItemFactors:
    vectors_at = MappedVectors(folder / WEIGHTS_FILE, "vectors_VK", shard_bytes=int(settings.get("shard_bytes", 0)))
    in_int8 = cache(lambda: compress_table(vectors_at, vectors_at.num_items))
    cells = open_cells(folder, vectors_at.num_items) if settings.get("with_cells") else None
    return ItemFactors(vectors_at, in_int8, cells)


def _factor_scores(users_BK: Tensor, items: ItemFactors, candidates: DomainCandidates) -> BlockScores:
    """Scores of users by their factors; those without any are filled."""
    is_personal_B = (users_BK != 0).any(dim=1)
    padded_BK = pad_rows(users_BK)

    def block(lo: int, hi: int) -> Tensor:
        scores_BV = (padded_BK @ items.vectors_at(slice(lo, hi)).T)[: len(users_BK)]
        return with_fill(scores_BV, is_personal_B, candidates.fill_V[lo:hi])

    def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
        dot_P = (users_BK[rows_P] * items.vectors_at(positions_P)).sum(dim=1)
        return torch.where(is_personal_B[rows_P], dot_P, candidates.fill_V[positions_P])

    product = Product(users_BK, items.vectors_at, items.in_int8, items.cells)
    return BlockScores(block, at, is_personal_B, None, product=product)
