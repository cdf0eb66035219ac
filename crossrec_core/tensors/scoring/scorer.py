"""Artifact folders in, a function from a batch of users to ranked lists out. Loaded once per Python worker (IO).

The factories are small frozen dataclasses that pickle; torch works and files are touched only where they are called.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.blending.blend_scorer import blend_scorer, load_blend
from crossrec_core.tensors.blending.cold_blend import load_cold
from crossrec_core.tensors.blending.sources import Source
from crossrec_core.tensors.closed_form.closed_form_scorers import (
    WEIGHTS_FILE,
    load_factors,
    load_item_scores,
    load_mapped_factors,
    load_text_vectors,
    load_transitions,
)
from crossrec_core.tensors.devices import set_up_cpu, worker_threads
from crossrec_core.tensors.folders import open_folder, read_json
from crossrec_core.tensors.network.checkpoint import VECTORS_FILE
from crossrec_core.tensors.probability.ranker import load_ranker
from crossrec_core.tensors.retrieval.block_scores import BlockScorer, DomainCandidates, candidates_of
from crossrec_core.tensors.retrieval.candidates import Candidates, load_candidates
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.head_scorer import load_adapted
from crossrec_core.tensors.scoring.neural_scorer import load_neural, load_neural_as_cold, load_neural_int8
from crossrec_core.tensors.scoring.ranked_lists import LoadedModel, compare_lists, score_pairs, score_users

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[["pd.DataFrame"], "pd.DataFrame"]
LoadKind = Callable[[Path, dict[str, Any], DomainCandidates], BlockScorer]

LOADERS: dict[str, LoadKind] = {
    "item_scores": load_item_scores,
    "transitions": load_transitions,
    "factors": load_factors,
    "mapped_factors": load_mapped_factors,
    "text_vectors": load_text_vectors,
    "neural": load_neural,
    "neural_int8": load_neural_int8,
}
HEAD = "head"  # lies with the pretrained model, whose vectors it reads
# Models whose scores are products of vectors: a block of candidates is scored without the others
OF_VECTORS = ("factors", "mapped_factors", "text_vectors", "neural", "neural_int8")
NEURAL_KINDS = ("neural", "neural_int8", HEAD)
# Where those vectors lie, by kind of model: file and name; int8 copies unpack theirs
STORED_VECTORS = {
    **dict.fromkeys(("factors", "mapped_factors", "text_vectors"), (WEIGHTS_FILE, "vectors_VK")),
    "neural": (VECTORS_FILE, "vectors_VD"),
}
# What can be said of a candidate that nobody has touched, and by which models
AS_COLD: dict[str, Callable[[Path, dict[str, Any], DomainCandidates], BlockScorer | None]] = {
    "neural": load_neural_as_cold,
    "text_vectors": load_text_vectors,
}
BLEND = "blend"
# As a source a model says what it knows itself: popularity has a voice of its own
AS_SOURCE = {"popularity_share": 0.0}


@dataclass(frozen=True)
class ModelFolder:
    """Where a fitted model for one domain lies; ``model_index`` stands for its name in what is scored."""

    model_index: int
    folder: str
    segments: tuple[str, ...] = c.USER_SEGMENTS  # whose lists it makes


@dataclass(frozen=True)
class LoadModels:
    """What a Python worker needs to load, and how many of them share a machine's cores."""

    candidates_folder: str
    models: tuple[ModelFolder, ...]
    threads: int  # torch threads of the worker; 0 for its share of the cores
    workers_per_host: int
    shard_bytes: int = 0  # item vectors of a model that are mapped at once; 0 for all
    with_cells: bool = False  # whether an approximate search will ask for the models' indexes


@dataclass(frozen=True)
class LoadScorer:
    """Makes a list of the best candidates for every user, model and wanted domain."""

    load: LoadModels
    search: Search

    def __call__(self) -> Score:
        """Load, or find what this worker has loaded: user frame -> rows of ``ranked_lists.score_users``.

        Raises:
            CheckpointError: a folder is missing, broken, of an unknown kind or made for other ids.
        """
        models = load_models(self.load)
        return lambda users: score_users(users, models, search=self.search)


@dataclass(frozen=True)
class LoadRecall:
    """Holds lists of a search by way of a pool against exact ones, for the models that can be searched so."""

    load: LoadModels
    search: Search

    def __call__(self) -> Score:
        """As ``LoadScorer``: user frame -> rows of ``ranked_lists.compare_lists``."""
        models = [model for model in load_models(self.load) if not model.holds_rows]
        return lambda users: compare_lists(users, models, search=self.search)


@dataclass(frozen=True)
class LoadPairScorer:
    """Gives the probability of labelled pairs by every model that has a ranker."""

    load: LoadModels

    def __call__(self) -> Score:
        """As ``LoadScorer``: user frame with pairs -> rows of ``ranked_lists.score_pairs``."""
        models = load_models(self.load)
        return lambda users: score_pairs(users, models)


@lru_cache(maxsize=1)
def load_models(load: LoadModels) -> tuple[LoadedModel, ...]:
    """Memory-map every model and the candidates; a worker that is used again finds them here."""
    set_up_cpu(worker_threads(load.threads, load.workers_per_host))
    gc.unfreeze()  # models that were loaded before those of the last call are gone by now
    gc.collect()
    candidates = load_candidates(load.candidates_folder)
    by_domain = {number: candidates_of(candidates, number) for number in candidates.items}
    loaded = tuple(_load_model(model, candidates, by_domain, load) for model in load.models)
    # Spark's worker collects garbage after every task: a quarter of a second in what torch and numba keep
    gc.freeze()
    return loaded


def load_source(
    folder: str, name: str, candidates: DomainCandidates, id_fingerprint: str, *, with_cold: bool = False,
    shard_bytes: int = 0,
) -> Source:  # fmt: skip
    """A model of the same run, purpose and domain as the blend at ``folder``, as one of its sources.

    ``with_cold``: it can also look at candidates as if they were cold, which only fitting needs.

    Raises:
        CheckpointError: its folder is missing, broken, of an unknown kind or made for other ids.
    """
    with open_folder(sibling(folder, name)) as local:
        about = _read_about(local, sibling(folder, name), id_fingerprint)
        kind = about["kind"]
        score = _load_score(local, sibling(folder, name), about, candidates, **AS_SOURCE, shard_bytes=shard_bytes)
        as_cold = AS_COLD[kind](local, about["settings"], candidates) if with_cold and kind in AS_COLD else None
    return Source(name, score, is_logit=kind in NEURAL_KINDS, counts_mass=kind == "transitions", score_cold=as_cold)


def stored_vectors(folder: Path) -> MappedVectors | None:
    """The vectors of a model's candidates as they lie in its local folder; None for models without."""
    kind = read_json(folder / "model.json")["kind"]
    return MappedVectors(folder / STORED_VECTORS[kind][0], STORED_VECTORS[kind][1]) if kind in STORED_VECTORS else None


def sibling(folder: str, name: str, domain: str = "") -> str:
    """The folder of another model of the same run and purpose, as ``lake.model_location``; empty is the same domain."""
    purpose, _, own_domain = folder.rstrip("/").rsplit("/", 2)
    return f"{purpose}/{name}/{domain or own_domain}"


def _load_model(
    model: ModelFolder, candidates: Candidates, by_domain: dict[int, DomainCandidates], load: LoadModels
) -> LoadedModel:
    with open_folder(model.folder) as folder:
        about = _read_about(folder, model.folder, candidates.id_fingerprint)
        domain = by_domain[about["domain_num"]]
        if about["kind"] == BLEND:
            names = about["settings"]["sources"]
            sources = [
                load_source(model.folder, name, domain, candidates.id_fingerprint, shard_bytes=load.shard_bytes)
                for name in names
            ]
            score = blend_scorer(sources, load_blend(folder), load_ranker(folder), domain, load_cold(folder))
        else:
            also = {"shard_bytes": load.shard_bytes, "with_cells": load.with_cells}
            score = _load_score(folder, model.folder, about, domain, **also)
    holds_rows = about["kind"] not in OF_VECTORS
    return LoadedModel(model.model_index, domain, score, model.segments, holds_rows)


def _load_score(
    local: Path, folder: str, about: dict[str, Any], candidates: DomainCandidates, **also: Any
) -> BlockScorer:
    """The scorer of any model but a blend; ``also`` goes over its settings."""
    settings = {**about["settings"], **also}
    if about["kind"] == HEAD:
        pretrained, head = (sibling(folder, name, c.ALL_DOMAINS) for name in (c.PRETRAINED, c.META))
        return load_adapted(pretrained, head, settings, candidates)
    return LOADERS[about["kind"]](local, settings, candidates)


def _read_about(local: Path, folder: str, id_fingerprint: str) -> dict[str, Any]:
    """model.json, refused if it is of other ids or of a kind that this release does not know."""
    about: dict[str, Any] = read_json(local / "model.json")
    if about["id_fingerprint"] != id_fingerprint:
        raise CheckpointError(
            f"{folder}: made for item table {about['id_fingerprint'][:8]}, the candidates are of "
            f"{id_fingerprint[:8]}; fit the model again (jobs/fit_baselines.py or jobs/finetune.py)"
        )
    kinds = (*LOADERS, HEAD, BLEND)
    if about["kind"] not in kinds:
        raise CheckpointError(
            f"{folder}: kind {about['kind']!r}; expected one of {', '.join(kinds)}; score with the release that made it"
        )
    return about
