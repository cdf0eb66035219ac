"""Fitted models in; for every target domain the full system ``crossrec`` out: all sources of evidence, blended.

The weights are fitted on the validation users with the validate models, and go with the models of all purposes. A
second blend, of baselines alone, is the click probability's control: fitted in the same way, measured, never listed.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Sequence
from typing import Any

import torch
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.blending.blend import Blend
from crossrec_core.tensors.blending.blend_fit import (
    cross_fitted_ndcg,
    fit_pooled,
    pair_features,
    pool_held_out,
    with_users_alike,
)
from crossrec_core.tensors.blending.blend_scorer import load_blend, save_blend
from crossrec_core.tensors.blending.cold_blend import ColdBlend, load_cold, save_cold
from crossrec_core.tensors.blending.cold_fit import fit_cold, hide_cold
from crossrec_core.tensors.blending.sources import Source
from crossrec_core.tensors.closed_form.artifacts import save_files
from crossrec_core.tensors.folders import has_file, open_folder
from crossrec_core.tensors.inputs.batches import is_candidate
from crossrec_core.tensors.network.checkpoint import About, load_about
from crossrec_core.tensors.probability.ranker import Ranker, fit_ranker, load_ranker, recalibrate, save_ranker
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.scoring.scorer import BLEND, load_source
from jobs.ground import Ground, read_ground, read_labelled_pairs
from jobs.one_model import fit_one
from jobs.refits import purposes_to_fit
from jobs.steps import Night, step_command


@dataclass(frozen=True)
class Blended:
    """What is fitted at validate and used elsewhere."""

    sources: tuple[str, ...]
    blend: Blend
    ranker: Ranker | None
    cold: ColdBlend | None
    valid_ndcg: float


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Blend the fitted models of each target domain into crossrec."""
    num_models = 0
    # A head that is on joins by itself: its gate has judged it
    own = list(dict.fromkeys([*settings.blend.models, c.ADAPTED])) if settings.blend.models else []
    blends = {c.CROSSREC: own, c.STACKED_BASELINES: settings.blend.stacked_baselines}
    for purpose in purposes_to_fit(settings, night):
        ground = read_ground(settings, night, spark, purpose)
        for name, models in blends.items():
            rows = _blend_domains(settings, ground, name, models) if models else []
            replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: name}
            num_models += write_rows(night.lake, t.MODELS, rows, replace=replaced)
    return {"models": num_models}


def fit_for_purpose(
    settings: Settings, night: Night, spark: SparkSession, *, purpose: str, domain: str
) -> dict[str, Any]:
    """Fit every source for a purpose, and blend them with the weights found at validate; returns the ``models`` row."""
    fitted = read_blended(night, c.CROSSREC, domain)
    assert fitted is not None, "a model that was not validated is never chosen"
    started = time.monotonic()
    for name in fitted.sources:
        fit_one(settings, night, spark, purpose=purpose, model=name, domain=domain)
    ground = read_ground(settings, night, spark, purpose)
    return _save(ground, c.CROSSREC, domain, fitted, time.monotonic() - started)


def read_blended(night: Night, name: str, domain: str) -> Blended | None:
    """What was fitted at validate for a domain, if anything was."""
    path = night.lake.at(model_location(night.run_id, c.VALIDATE, name, domain))
    if not has_file(path, "model.json"):
        return None
    about = load_about(path).settings
    with open_folder(path) as folder:
        return Blended(
            tuple(about["sources"]), load_blend(folder), load_ranker(folder), load_cold(folder), about["valid_ndcg"]
        )


def keeps_positive(settings: Settings) -> bool:
    """Whether weights may not be negative. Popularity drifts between windows; a last event but one is like the last."""
    if settings.blend.signs == "auto":
        return settings.split.protocol == "time"
    return settings.blend.signs == "positive"


def _blend_domains(settings: Settings, ground: Ground, name: str, models: Sequence[str]) -> list[dict[str, Any]]:
    """Fit one blend for every target domain, or take what was fitted at validate; its rows of the models table."""
    rows = []
    for domain in (target for target in settings.targets if target in ground.candidates.domains):
        started = time.monotonic()
        is_fitted_here = ground.purpose == c.VALIDATE
        fitted = (
            _fit(settings, ground, name, domain, models) if is_fitted_here else read_blended(ground.night, name, domain)
        )
        if fitted is not None:
            rows.append(_save(ground, name, domain, fitted, time.monotonic() - started))
    if ground.purpose == c.VALIDATE:
        recalibrate(ground.folders(name, [row[c.DOMAIN] for row in rows]))
    return rows


def _fit(settings: Settings, ground: Ground, name: str, domain: str, models: Sequence[str]) -> Blended | None:
    """Fit the weights on a domain's validation users; None where too few of them have a hit to learn from."""
    held_out, rules = ground.held_out.get(domain), settings.blend
    # The control has no more sources than it is said to have
    sources = _read_sources(ground, domain, models, rules.cold_models if name == c.CROSSREC else [])
    if held_out is None or not sources:
        return None
    candidates = candidates_of(ground.candidates, held_out.domain_num)
    pooled = pool_held_out(hide_cold(sources, candidates), held_out, candidates, size=rules.pool)
    if not rules.per_user:
        pooled = with_users_alike(pooled)
    if int(pooled.is_truth_RM.any(dim=1).sum()) < rules.min_users:
        return None
    is_positive = keeps_positive(settings)
    everyone_R = torch.ones(len(held_out.truth_RT), dtype=torch.bool)
    blend = fit_pooled(pooled, everyone_R, l2=rules.l2, is_positive=is_positive)
    cold = None
    if bool(candidates.is_cold_V.any()):
        cold = fit_cold(
            sources, blend, held_out, candidates, size=rules.pool, share=rules.cold_share, cost=rules.cold_cost,
            l2=rules.l2, min_users=rules.min_users,
        )  # fmt: skip
    ndcg = cross_fitted_ndcg(
        pooled, sources, held_out, candidates, l2=rules.l2, is_positive=is_positive, cold=cold
    )  # fmt: skip
    pairs = read_labelled_pairs(ground, domain)
    kept_P = is_candidate(pairs.item_nums_P, candidates.items_V)
    by_row_P = pairs.rows_P[kept_P].argsort(stable=True)
    ranker = None
    if bool(kept_P.any()):
        rows_P, items_P = pairs.rows_P[kept_P][by_row_P], pairs.item_nums_P[kept_P][by_row_P]
        phi_PF = pair_features(sources, blend, held_out, candidates, rows_P, items_P, cold)
        ranker = fit_ranker(
            phi_PF, pairs.labels_P[kept_P][by_row_P], pairs.user_nums_P[kept_P][by_row_P],
            negatives_per_positive=ground.num_negatives.get(domain, 0),
        )  # fmt: skip
    return Blended(tuple(source.name for source in sources), blend, ranker, cold, ndcg)


def _read_sources(ground: Ground, domain: str, models: Sequence[str], cold_models: Sequence[str]) -> list[Source]:
    """The models that this run has fitted for the domain; ``cold_models`` too where there are cold candidates."""
    lake, run_id = ground.night.lake, ground.night.run_id
    folder = lake.at(model_location(run_id, ground.purpose, c.CROSSREC, domain))
    candidates = candidates_of(ground.candidates, ground.candidates.domains[domain])
    has_cold = bool(candidates.is_cold_V.any())
    also = [name for name in cold_models if name not in models] if has_cold else []
    return [
        load_source(folder, name, candidates, ground.candidates.id_fingerprint, with_cold=has_cold)
        for name in (*models, *also)
        if has_file(lake.at(model_location(run_id, ground.purpose, name, domain)), "model.json")
    ]


def _save(ground: Ground, name: str, domain: str, fitted: Blended, seconds: float) -> dict[str, Any]:
    """Write the artifact of a purpose; returns its row of the models table."""
    run_id, number = ground.night.run_id, ground.candidates.domains[domain]
    location = model_location(run_id, ground.purpose, name, domain)
    settings: dict[str, Any] = {"sources": list(fitted.sources), "valid_ndcg": fitted.valid_ndcg}
    if fitted.cold is not None:
        settings["cold_shift"] = float(fitted.cold.shift)
    about = About(BLEND, name, domain, number, ground.candidates.id_fingerprint, settings)

    def write(folder: Path) -> None:
        save_blend(folder, fitted.blend)
        if fitted.cold is not None:
            save_cold(folder, fitted.cold)
        if fitted.ranker is not None:
            save_ranker(folder, fitted.ranker)

    save_files(ground.night.lake.at(location), about, write)
    return {
        c.RUN_ID: run_id, c.PURPOSE: ground.purpose, c.MODEL: name, c.DOMAIN: domain, c.KIND: BLEND,
        "location": location, "settings": json.dumps(settings, sort_keys=True), "valid_ndcg": fitted.valid_ndcg,
        "seconds": seconds,
    }  # fmt: skip


main = step_command("blend", run)

if __name__ == "__main__":
    typer.run(main)
