"""What a purpose knows in, the tensors of a baseline that goes straight into its artifact out; it has no rows.

EASE and SLIST stream the sequences and are solved in torch; iALS, CMF and EMCDR are ALS in Spark, once per target;
text-kNN is its items' text vectors.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files
from crossrec_core.errors import ConfigError
from crossrec_core.frames.floors.baselines import Factors, to_factors, to_map_sums, to_ratings, with_domain_weights
from crossrec_core.tensors.closed_form.artifacts import compress_rows, to_factor_tensors
from crossrec_core.tensors.closed_form.item_item import (
    Decay,
    count_events,
    fit_ease,
    fit_slist,
    pick_items,
    strongest,
    to_places,
)
from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.retrieval.candidates import read_label_nums
from jobs.baseline_settings import EASE, EMCDR, SLIST, TEXT_KNN, Options
from jobs.ground import read_text_vectors
from jobs.known import Known

BATCH_ROWS = 1024
SEQUENCE_COLUMNS = (c.ITEM_NUMS, c.DOMAIN_NUMS, c.GAP_BUCKETS)


def fit_tensors(known: Known, model: str, domain: str, options: Options) -> dict[str, Tensor]:
    """Fit a model for a domain; the tensors of its artifact."""
    if model in (EASE, SLIST):
        return _fit_item_item(known, model, domain, options)
    if model == TEXT_KNN:
        return _read_text(known, domain)
    if model == EMCDR:
        return _fit_mapped(known, domain, options)
    return _fit_factors(known, domain, options, own=1.0, other=options["source_weight"])


def to_action_weights(known: Known, domain: str | None = None, *, other: float = 1.0) -> Tensor:
    """float32 [D + 1, A + 1]: the weight of an event by domain and action number, other domains' times ``other``."""
    domains, actions = (read_label_nums(known.store.night.lake, kind) for kind in ("domain", "action"))
    table_DA = torch.zeros(max(domains.values(), default=0) + 1, max(actions.values(), default=0) + 1)
    for name, number in domains.items():
        scale = 1.0 if domain in (None, name) else other
        weights = known.settings.domains[name].events if name in known.settings.domains else {}
        for action, place in actions.items():
            table_DA[number, place] = scale * weights.get(action, 1.0)
    return table_DA


def _fit_item_item(known: Known, model: str, domain: str, options: Options) -> dict[str, Tensor]:
    number = known.candidates.domains[domain]
    items_V = known.candidates.items[number]
    counts_V = count_events(_read_sequences(known), to_places(items_V), domain_num=number, num_items=len(items_V))
    positions_M = pick_items(counts_V, max_items=options["max_items"])
    num_touched = int((counts_V > 0).sum())
    if len(positions_M) < num_touched:
        logging.getLogger(__name__).warning(
            "%s on %s: the %d items with the most events of %d are modelled (baselines.dense_items)",
            model, domain, len(positions_M), num_touched,
        )  # fmt: skip
    sums: dict[str, Any] = {
        "domain_num": number, "num_items": len(positions_M), "regularisation": options["regularisation"],
    }  # fmt: skip
    places_I = to_places(items_V[positions_M])
    if model == EASE:
        weights_MM = fit_ease(_read_sequences(known), places_I, **sums)
    else:
        decay = Decay(options["decay"], options["half_life_days"])
        weights_MM = fit_slist(
            _read_sequences(known), places_I, decay=decay, whole_share=options["whole_share"], **sums
        )
    rows, columns, weights = strongest(weights_MM, max_neighbours=options["max_neighbours"])
    nums = items_V[positions_M[rows]]
    return compress_rows(nums.numpy(), positions_M[columns].numpy(), weights.numpy())


def _read_sequences(known: Known) -> Iterator[Mapping[str, Tensor]]:
    night = known.store.night
    where = {c.RUN_ID: night.run_id, c.PURPOSE: known.purpose}
    files = [file.uri for file in live_files(night.lake, t.SEQUENCES, where=where) if file.num_rows]
    return read_batches(files, columns=SEQUENCE_COLUMNS, batch_size=BATCH_ROWS, seed=0, epoch=0, shuffle=False)


def _read_text(known: Known, domain: str) -> dict[str, Tensor]:
    night, dimensions = known.store.night, known.settings.text.dimensions
    num_items = int(known.store.read_all(t.ITEM_IDS).agg(F.max(c.ITEM_NUM)).collect()[0][0])
    encoder = known.settings.text.encoder
    vectors_IK = read_text_vectors(night.lake, night.run_id, num_items, encoder=encoder, dimensions=dimensions)
    if vectors_IK is None:
        raise ConfigError(
            f"baselines.models: text_knn needs texts, run {night.run_id} has none; set text.dimensions and a domain's "
            "catalogue.text and run jobs/embed_text.py again, or take text_knn out"
        )
    items_V = known.candidates.items[known.candidates.domains[domain]]
    return {"all_vectors_IK": vectors_IK, "vectors_VK": vectors_IK[items_V].float()}


def _fit_factors(known: Known, domain: str, options: Options, *, own: float, other: float) -> dict[str, Tensor]:
    factors = _als(known, _ratings(known, domain, own=own, other=other), options)
    return {**_item_tensors(known, domain, factors), "action_weights_DA": to_action_weights(known, domain, other=other)}


def _fit_mapped(known: Known, domain: str, options: Options) -> dict[str, Tensor]:
    """EMCDR: ALS of the target alone, of the other domains alone, and the ridge map between the users' factors."""
    own = _ratings(known, domain, own=1.0, other=0.0)
    others = _ratings(known, domain, own=0.0, other=1.0)
    target = _als(known, own, options)
    tensors = {**_item_tensors(known, domain, target), "action_weights_DA": to_action_weights(known)}
    rank = options["rank"]
    if others.isEmpty():
        empty = {"source_vectors_IK": torch.zeros(1, rank), "source_gram_KK": torch.zeros(rank, rank)}
        return {**tensors, **empty, "mapping_KK": torch.zeros(rank, rank)}
    source = _als(known, others, options)
    sums = np.zeros(2 * rank * rank)
    for row in to_map_sums(source.users, target.users, own).collect():  # a few rows, K * K each
        sums += row[0]
    left_KK, right_KK = (torch.from_numpy(half).view(rank, rank) for half in np.split(sums, 2))
    ridge_KK = left_KK + options["map_regularisation"] * torch.eye(rank, dtype=torch.float64)
    elsewhere = _item_tensors(known, domain, source)
    return {
        **tensors, "mapping_KK": torch.linalg.solve(ridge_KK, right_KK).float(),
        "source_vectors_IK": elsewhere["all_vectors_IK"], "source_gram_KK": elsewhere["gram_KK"],
    }  # fmt: skip


def _ratings(known: Known, domain: str, *, own: float, other: float) -> DataFrame:
    """The ratings of a domain and its sources, each with its weight."""
    lends = F.col(c.DOMAIN).isin(sorted({domain, *known.settings.sources}))
    return to_ratings(with_domain_weights(known.events.where(lends), domain=domain, own=own, other=other))


def _als(known: Known, ratings: DataFrame, options: Options) -> Factors:
    return to_factors(
        ratings, rank=options["rank"], iterations=options["iterations"], regularisation=options["regularisation"],
        alpha=options["alpha"], seed=known.settings.train.seed,
    )  # fmt: skip


def _item_tensors(known: Known, domain: str, factors: Factors) -> dict[str, Tensor]:
    """Item factors as the artifact holds them: all of them are in its memory anyway."""
    candidates_V = known.candidates.items[known.candidates.domains[domain]]
    return to_factor_tensors(factors.items.toArrow().to_batches(), candidates_V)
