"""A neural checkpoint in, a block scorer out (IO: memory-mapped files). Each user is encoded once per model.

B users, L length, D width, V candidates, P pairs of a user and a candidate.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, keep_domain
from crossrec_core.tensors.inputs.user_batch import UserBatch
from crossrec_core.tensors.network.checkpoint import VECTORS_FILE, Checkpoint, load_checkpoint, precompute_vectors
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.likes import like_features
from crossrec_core.tensors.probability.ranker import listed_probability, pair_features, probability
from crossrec_core.tensors.retrieval.block_scores import (
    BlockScorer,
    BlockScores,
    DomainCandidates,
    Product,
    pad_rows,
    with_fill,
)
from crossrec_core.tensors.retrieval.cells import Cells, open_cells
from crossrec_core.tensors.retrieval.int8 import compress_table
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors, VectorsAt
from crossrec_core.tensors.training.compress import load_int8

# Users are encoded with users of like length: most sequences are short, and padding costs as much as events.
SHORTEST_BUCKET = 8
COLD_ROWS = 65_536  # cold candidates looked at at once


def load_neural(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a sequence model with its candidates' vectors; users without any event are left to the stand-ins."""
    shard_bytes = int(settings.get("shard_bytes", 0))
    vectors_at = MappedVectors(folder / VECTORS_FILE, "vectors_VD", shard_bytes=shard_bytes)
    cells = open_cells(folder, vectors_at.num_items) if settings.get("with_cells") else None
    return _scorer(load_checkpoint(str(folder)), vectors_at, candidates, cells)


def load_neural_as_cold(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer | None:
    """Load a sequence model that looks at its candidates as if nobody had touched them: at texts and attributes alone.

    None for a model that knows neither.
    """
    checkpoint = load_checkpoint(str(folder))
    items = checkpoint.model.items
    if items.text_map is None and items.attributes is None:
        return None
    with torch.no_grad():
        everything_I = torch.ones(checkpoint.model.config.num_items + 1, dtype=torch.bool)
        vectors_VD = checkpoint.model.item_vectors(candidates.items_V, everything_I)
    all_cold = replace(candidates, is_cold_V=torch.ones_like(candidates.is_cold_V))
    return _scorer(checkpoint, lambda places: vectors_VD[places], all_cold)


def in_context_scorer(checkpoint: Checkpoint, candidates: DomainCandidates) -> BlockScorer:
    """The scorer of a model that was trained for no domain of its own, such as the pretrained one."""
    vectors_VD = precompute_vectors(checkpoint.model, candidates.items_V)
    return _scorer(checkpoint, lambda places: vectors_VD[places], candidates)


def load_neural_int8(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a compressed sequence model; the vectors of a block of candidates are unpacked when it is scored."""
    checkpoint = load_int8(str(folder))
    return _scorer(checkpoint, lambda places: checkpoint.model.item_vectors(candidates.items_V[places]), candidates)


def _scorer(
    checkpoint: Checkpoint, vectors_at: VectorsAt, candidates: DomainCandidates, cells: Cells | None = None
) -> BlockScorer:  # fmt: skip
    """The scorer of a model; ``vectors_at`` gives the vectors of the candidates at some positions.

    A cold candidate without text and attributes has a zero vector. Nothing is known of it, so it is filled.
    """
    checkpoint.model.requires_grad_(False)
    base = checkpoint.about.settings.get("compressed_from", checkpoint.about.model)
    only_own_domain = base == c.TARGET_ONLY
    cold_C = torch.nonzero(candidates.is_cold_V).flatten()
    is_silent_V = torch.zeros_like(candidates.is_cold_V)
    for part_C in cold_C.split(COLD_ROWS):
        is_silent_V[part_C] = ~(vectors_at(part_C) != 0).any(dim=1)
    in_int8 = cache(lambda: compress_table(vectors_at, len(candidates.items_V)))

    def score(users: UserBatch) -> BlockScores:
        events = _events_of(users, candidates.domain_num, only_own_domain)
        has_events_B = (events[0] != 0).any(dim=1)
        queries_BD = encode(checkpoint.model, events, candidates.domain_num)
        padded_BD = pad_rows(queries_BD)

        def block(lo: int, hi: int) -> Tensor:
            scores_BV = (padded_BD @ vectors_at(slice(lo, hi)).T)[: len(queries_BD)]
            if len(cold_C):
                scores_BV = torch.where(is_silent_V[lo:hi], candidates.fill_V[lo:hi], scores_BV)
            return with_fill(scores_BV, has_events_B, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            dot_P = (queries_BD[rows_P] * vectors_at(positions_P)).sum(dim=1)
            is_real_P = has_events_B[rows_P] & ~is_silent_V[positions_P]
            return torch.where(is_real_P, dot_P, candidates.fill_V[positions_P])

        product = Product(queries_BD, vectors_at, in_int8, cells)
        if checkpoint.ranker is None:
            return BlockScores(block, at, has_events_B, None, product=product)
        ranker = checkpoint.ranker

        def pair_probability(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            likes_P2 = like_features(
                candidates.likes, users.likes_B2.get(candidates.domain_num), rows_P, positions_P
            )  # fmt: skip
            phi_PF = _features(events, queries_BD, vectors_at(positions_P), candidates, likes_P2, rows_P, positions_P)
            return probability(ranker, phi_PF)

        def among_all(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            found_P = pair_probability(rows_P, positions_P)
            return listed_probability(ranker, found_P, candidates.events_V[positions_P], len(candidates.events_V))

        return BlockScores(block, at, has_events_B, pair_probability, among_all, product)

    return score


def encode(model: SequenceModel, events: list[Tensor], domain_num: int) -> Tensor:
    """The query [B, D] of every user for one target domain, independent of who else is in the batch.

    ``events`` are the sequence columns, int64 [B, L]. A row is computed at the length of its own bucket and in
    whole tiles of rows, so that it rounds the same in every batch.
    """
    length_B = (events[0] != 0).sum(dim=1)
    queries_BD = torch.empty(len(length_B), model.config.width)
    shorter, width = -1, min(SHORTEST_BUCKET, events[0].shape[1])
    while shorter < events[0].shape[1]:
        rows = torch.nonzero((length_B > shorter) & (length_B <= width)).flatten()
        if len(rows):
            padded = [pad_rows(values[rows, :width]) for values in events]
            queries_BD[rows] = model.last_query(*padded, target_domain=domain_num)[: len(rows)]
        shorter, width = width, min(2 * width, events[0].shape[1])
    return queries_BD


def _events_of(users: UserBatch, domain_num: int, only_own_domain: bool) -> list[Tensor]:
    """The sequence columns; a model without transfer sees the target's events only, as it did in training."""
    events = [users.items_BL, users.domains_BL, users.actions_BL, users.gaps_BL, users.orders_BL]
    if not only_own_domain:
        return events
    kept = keep_domain(dict(zip(SEQUENCE_COLUMNS, events, strict=True)), domain_num)
    return [kept[name] for name in SEQUENCE_COLUMNS]


def _features(
    events: list[Tensor], queries_BD: Tensor, vectors_PD: Tensor, candidates: DomainCandidates, likes_P2: Tensor,
    rows_P: Tensor, positions_P: Tensor,
) -> Tensor:  # fmt: skip
    items_BL, domains_BL = events[0], events[1]
    return pair_features(
        queries_BD[rows_P],
        vectors_PD,
        candidates.popularity_V[positions_P],
        (items_BL != 0).sum(dim=1)[rows_P],
        ~(domains_BL == candidates.domain_num).any(dim=1)[rows_P],
        likes_P2,
    )
