"""A run's known events in, rows and artifacts of a fitted baseline out."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import pyarrow.dataset as ds
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files
from crossrec_core.frames.floors.baselines import to_decayed_scores, to_factors, to_item_scores, to_ratings
from crossrec_core.frames.floors.transitions import (
    keep_first_touch,
    keep_latest,
    to_neighbours,
    to_pair_sums,
    to_transitions,
)
from crossrec_core.lake import model_location
from crossrec_core.lake_reader import scan_arrow
from crossrec_core.tables import Table
from crossrec_core.tensors.closed_form.artifacts import (
    save_artifact,
    to_factor_tensors,
    to_score_tensors,
    to_transition_tensors,
)
from crossrec_core.tensors.network.checkpoint import About
from jobs.baseline_settings import (
    ALS,
    DECAYED,
    DIRECT,
    ITEM_KNN,
    KINDS,
    MARKOV,
    PAIRED,
    POPULARITY,
    Options,
    at_fit,
)
from jobs.direct_fits import fit_tensors, to_action_weights
from jobs.known import Known

SCORES_ITEMS = (POPULARITY, DECAYED, MARKOV)  # markov mixes decayed popularity in


@contextmanager
def pair_sums_of(known: Known, model: str, tried: Sequence[Options]) -> Iterator[dict[float, DataFrame]]:
    """The cached pair sums that the options need, by pair_decay; none for models without pairs."""
    if model not in PAIRED:
        yield {}
        return
    across = any(options.get("cross_domain", 0.0) > 0 for options in tried)
    events = _paired_events(known, model, max_history=tried[0]["max_history"], across=across).persist()
    window = tried[0]["max_history"] if model == ITEM_KNN else tried[0]["window"]
    spaces = [known.settings.item_space(domain) for domain in known.settings.domains]
    sums = {
        decay: to_pair_sums(
            events, window=window, pair_decay=decay, across=across, sources=known.settings.sources,
            targets=list(known.targets), shared_items=len(set(spaces)) < len(spaces),
        ).persist()
        for decay in sorted({options.get("pair_decay", 1.0) for options in tried})
    }  # fmt: skip
    try:
        yield sums
    finally:
        for frame in (*sums.values(), events):
            frame.unpersist()


def _paired_events(known: Known, model: str, *, max_history: int, across: bool) -> DataFrame:
    """The events that make a model's pairs: those of the targets, with ``across`` of the sources too.

    A user's events come together once, in as many tasks as a shuffle has: making pairs out of few rows is what costs,
    so adaptive execution must not merge them.
    """
    domains = {*known.targets, *(known.settings.sources if across else ())}
    grouped = known.events.where(F.col(c.DOMAIN).isin(*sorted(domains))).repartition(
        known.settings.spark.shuffle_partitions, c.USER_NUM
    )
    latest = keep_latest(grouped, max_history=max_history)
    return keep_first_touch(latest) if model == ITEM_KNN else latest


def fit(
    known: Known, model: str, options: Mapping[str, Options], ndcg: Mapping[str, float],
    sums: Mapping[float, DataFrame], *, is_written: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Fit a model for some domains, each with its options; write rows and artifacts; return rows for ``models``.

    With ``is_written`` the rows are there already, from the last trial. ``seconds`` of a row is the domain's part of
    the common fit.
    """
    started = time.monotonic()
    if not is_written:
        write_fit(known, model, options, sums)
    for domain, chosen in options.items():
        save(known, model, domain, chosen)
    seconds = (time.monotonic() - started) / max(len(options), 1)
    return [to_row(known, model, domain, chosen, ndcg.get(domain), seconds) for domain, chosen in options.items()]


def to_row(
    known: Known, model: str, domain: str, options: Options, ndcg: float | None, seconds: float
) -> dict[str, Any]:
    """The row of ``models`` of a fitted baseline."""
    run_id = known.store.night.run_id
    return {
        c.RUN_ID: run_id, c.PURPOSE: known.purpose, c.MODEL: model, c.DOMAIN: domain, c.KIND: KINDS[model],
        "location": model_location(run_id, known.purpose, model, domain),
        "settings": json.dumps(dict(options), sort_keys=True), "valid_ndcg": ndcg, "seconds": seconds,
    }  # fmt: skip


def write_fit(known: Known, model: str, options: Mapping[str, Options], sums: Mapping[float, DataFrame]) -> None:
    """Write a model's rows for some domains, each with its options; other domains keep theirs."""
    if model == ALS:
        _write_factors(known, options)
    if model in PAIRED:
        write_pairs(known, model, options, sums)
    if model in SCORES_ITEMS:
        write_scores(known, model, options)


def write_scores(known: Known, model: str, options: Mapping[str, Options]) -> None:
    """Write the item scores of a model for some domains, each with its options."""
    rows = [_item_scores(known, model, chosen, domains) for chosen, domains in _by_fit(options)]
    _write(known, _union(rows), t.ITEM_SCORES, model, list(options))


def read_scores(known: Known, model: str, domain: str) -> dict[str, Tensor]:
    """The item scores of a model as its artifact holds them; none for models without."""
    if model not in SCORES_ITEMS:
        return {}
    candidates_V = known.candidates.items[known.candidates.domains[domain]]
    return to_score_tensors(_batches(known, t.ITEM_SCORES, model, domain), candidates_V)


def write_pairs(known: Known, model: str, options: Mapping[str, Options], sums: Mapping[float, DataFrame]) -> None:
    """Write the transitions of a model for some domains, each with its options."""
    rows = [_pair_weights(sums, model, chosen, domains) for chosen, domains in _by_fit(options)]
    _write(known, _union(rows), t.TRANSITIONS, model, list(options))


def save(known: Known, model: str, domain: str, options: Options) -> str:
    """Make the artifact of a domain from the model's rows, or fit a model that has none; returns its folder."""
    tensors = fit_tensors(known, model, domain, options) if model in DIRECT else read_rows(known, model, domain)
    return save_tensors(known, model, domain, options, tensors)


def save_tensors(known: Known, model: str, domain: str, options: Options, tensors: Mapping[str, Tensor]) -> str:
    """Write the artifact of a domain; returns its folder."""
    night, number = known.store.night, known.candidates.domains[domain]
    folder = night.lake.at(model_location(night.run_id, known.purpose, model, domain))
    about = About(KINDS[model], model, domain, number, known.candidates.id_fingerprint, dict(options))
    save_artifact(folder, about, tensors)
    return folder


def read_rows(known: Known, model: str, domain: str) -> dict[str, Tensor]:
    """The rows of a model as its artifact holds them."""
    candidates_V = known.candidates.items[known.candidates.domains[domain]]
    tensors: dict[str, Tensor] = {}
    if model == ALS:
        tensors = to_factor_tensors(_batches(known, t.ITEM_FACTORS, model, None), candidates_V)
        tensors |= {"action_weights_DA": to_action_weights(known)}
    if model in PAIRED:
        tensors = to_transition_tensors(_batches(known, t.TRANSITIONS, model, domain), candidates_V)
    return tensors | read_scores(known, model, domain)


def _write_factors(known: Known, options: Mapping[str, Options]) -> None:
    """One model for all domains: the options are the same for each."""
    chosen = next(iter(options.values()))
    factors = to_factors(
        to_ratings(known.events), rank=chosen["rank"], iterations=chosen["iterations"],
        regularisation=chosen["regularisation"], alpha=chosen["alpha"], seed=known.settings.train.seed,
    ).items  # fmt: skip
    _write(known, factors, t.ITEM_FACTORS, ALS, [])


def _pair_weights(sums: Mapping[float, DataFrame], model: str, options: Options, domains: list[str]) -> DataFrame:
    pairs = sums[options.get("pair_decay", 1.0)].where(F.col(c.DOMAIN).isin(*domains))
    if model == MARKOV:
        return to_transitions(
            pairs, backward=options["backward"], alpha=options["alpha"], cross_domain=options["cross_domain"],
            max_neighbours=options["max_neighbours"],
        )  # fmt: skip
    return to_neighbours(
        pairs, shrink=options["shrink"], cross_domain=options["cross_domain"],
        max_neighbours=options["max_neighbours"],
    )  # fmt: skip


def _item_scores(known: Known, model: str, options: Options, domains: list[str]) -> DataFrame:
    is_wanted = F.col(c.DOMAIN).isin(*domains)
    candidates = known.item_popularity.where(is_wanted)
    if model in (DECAYED, MARKOV):
        return to_decayed_scores(known.events.where(is_wanted), candidates, half_life_days=options["half_life_days"])
    return to_item_scores(candidates)


def _by_fit(options: Mapping[str, Options]) -> list[tuple[Options, list[str]]]:
    """Domains that share a fit, grouped."""
    groups: dict[str, list[str]] = {}
    for domain, chosen in options.items():
        groups.setdefault(json.dumps(at_fit(chosen), sort_keys=True), []).append(domain)
    return [(options[domains[0]], domains) for domains in groups.values()]


def _write(known: Known, rows: DataFrame, table: Table, model: str, domains: Sequence[str]) -> None:
    """Replace the model's rows of these domains; rows of targets not fitted now stay."""
    named = rows.withColumn(c.PURPOSE, F.lit(known.purpose)).withColumn(c.MODEL, F.lit(model))
    if domains and set(domains) != set(known.targets):
        is_other = (F.col(c.PURPOSE) == known.purpose) & (F.col(c.MODEL) == model) & ~F.col(c.DOMAIN).isin(*domains)
        named = named.unionByName(known.store.read(table).where(is_other).drop(c.RUN_ID))
    known.store.write(named, table, replace={c.PURPOSE: known.purpose, c.MODEL: model})


def _batches(known: Known, table: Table, model: str, domain: str | None) -> Iterator[Any]:
    """The model's rows of a domain as Arrow batches; none where none were written."""
    night = known.store.night
    where = {c.RUN_ID: night.run_id, c.PURPOSE: known.purpose, c.MODEL: model}
    if not live_files(night.lake, table, where=where):
        return iter(())
    names = [name for name in table.column_names if name not in (*table.partition_by, c.DOMAIN)]
    own = None if domain is None else ds.field(c.DOMAIN) == domain
    return iter(scan_arrow(night.lake, table, where=where).to_batches(columns=names, filter=own))


def _union(frames: Sequence[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, frames)
