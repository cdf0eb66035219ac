"""Pretrained models in; for every target domain a transferred model and its control out.

    transferred: starts from the pretrained weights, reads mixed sequences, learns the target's events
    target_only: starts fresh, reads and learns the target's events alone

Both stop early at validate and are refitted for the epochs found elsewhere. The click probability is fitted on the
validation users' labelled pairs with the validate model, and goes with the models of all purposes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.lake import model_location
from crossrec_core.lake_reader import read_arrow
from crossrec_core.settings import FitSettings, Settings
from crossrec_core.tensors.checkpoint import load_checkpoint
from crossrec_core.tensors.encoder import SequenceModel
from crossrec_core.tensors.finetune import as_read_by, build_model, pick_rows
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.pairs import phi_of_pairs
from crossrec_core.tensors.ranker import Ranker, fit_ranker
from jobs.ground import Ground, read_ground
from jobs.pretrain import (
    ALL_DOMAINS,
    fit_pretrained,
    load_model,
    load_validated,
    purposes_to_fit,
    refits,
    settings_found,
)
from jobs.steps import Night, step_command
from jobs.training import log_rows, model_row, save_model, train, write_log


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Finetune on every target domain, beside a control without transfer."""
    counts = {"models": 0, "training_log": 0}
    for purpose in purposes_to_fit(night):
        ground = read_ground(settings, night, spark, purpose)
        targets = [domain for domain in settings.targets if domain in ground.candidates.domains]
        for model in (c.TRANSFERRED, c.TARGET_ONLY):
            fitted = targets if stage_of(settings, model).max_epochs > 0 else []
            rows = [_fit_domain(settings, ground, domain, model, None) for domain in fitted]
            replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: model}
            counts["models"] += write_rows(night.lake, t.MODELS, [row for row, _ in rows], replace=replaced)
            counts["training_log"] += sum(num_logged for _, num_logged in rows)
    return counts


def stage_of(settings: Settings, model: str) -> FitSettings:
    """How a neural model is trained on its target; no epochs switch it off."""
    return settings.train.finetune if model == c.TRANSFERRED else settings.train.target_only


def fit_for_purpose(
    settings: Settings,
    night: Night,
    spark: SparkSession,
    *,
    purpose: str,
    domain: str,
    model: str,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Fit one neural model for one purpose and write its folder and log; returns its row for the models table.

    ``epochs`` None takes the number found at validate, or all of the settings' where nothing was validated. For
    ``transferred`` the purpose's pretrained model is fitted first unless it is there.
    """
    ground = read_ground(settings, night, spark, purpose)
    pretrained = night.lake.at(model_location(night.run_id, purpose, c.PRETRAINED, ALL_DOMAINS))
    if model == c.TRANSFERRED and not has_file(pretrained, "model.json"):
        fit_pretrained(settings, ground)
    row, _ = _fit_domain(settings, ground, domain, model, epochs)
    return row


def _fit_domain(
    settings: Settings, ground: Ground, domain: str, name: str, epochs: int | None
) -> tuple[dict[str, Any], int]:
    """One model of one target: its row for the models table, and the rows written to training_log."""
    ground = replace(
        ground, held_out={key: as_read_by(held_out, model_name=name) for key, held_out in ground.held_out.items()}
    )
    found = settings_found(ground, name, domain)
    if found is not None and not refits(settings, ground.purpose):
        return _save(settings, ground, load_validated(ground, name, domain), name, domain, found, 0.0), 0
    stage = stage_of(settings, name)
    number = ground.candidates.domains[domain]
    model = _start(settings, ground, name)
    trained = train(
        settings, ground, model, stage, label=f"{name} {domain}", domains=[domain],
        pick_rows=lambda columns: pick_rows(columns, model_name=name, domain_num=number),
        epochs=found["epochs"] if epochs is None and found else epochs,
    )  # fmt: skip
    ndcg = found["valid_ndcg"] if found else trained.valid_ndcg
    fitted_with = {**asdict(stage), "epochs": trained.epochs, "valid_ndcg": ndcg}
    stage_name = "finetune" if name == c.TRANSFERRED else c.TARGET_ONLY
    num_logged = write_log(
        ground, log_rows(ground, model=f"{name}.{domain}", stage=stage_name, reports=trained.reports)
    )
    return _save(settings, ground, model, name, domain, fitted_with, trained.seconds), num_logged


def _start(settings: Settings, ground: Ground, name: str) -> SequenceModel:
    """Fresh weights; for ``transferred`` overwritten by the pretrained ones of the same purpose."""
    model = build_model(
        ground.config, seed=settings.train.seed, text_vectors_IK=ground.text_vectors_IK, attributes=ground.attributes
    )
    if name == c.TRANSFERRED:
        location = model_location(ground.night.run_id, ground.purpose, c.PRETRAINED, ALL_DOMAINS)
        model.load_state_dict(load_model(ground, location).state_dict())
    return model


def _save(
    settings: Settings, ground: Ground, model: SequenceModel, name: str, domain: str,
    fitted_with: Mapping[str, Any], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    ranker = _ranker(ground, model, name, domain)
    location = save_model(settings, ground, model, name, domain, fitted_with=fitted_with, ranker=ranker)
    return model_row(ground, model=name, domain=domain, location=location, fitted_with=fitted_with, seconds=seconds)


def _ranker(ground: Ground, model: SequenceModel, name: str, domain: str) -> Ranker | None:
    """Fitted at validate; elsewhere the one that was fitted there, if any."""
    if ground.purpose != c.VALIDATE:
        path = ground.night.lake.at(model_location(ground.night.run_id, c.VALIDATE, name, domain))
        return load_checkpoint(path).ranker if has_file(path, "ranker.json") else None
    if domain not in ground.held_out:
        return None
    return fit_domain_ranker(ground, model, domain)


def fit_domain_ranker(ground: Ground, model: SequenceModel, domain: str) -> Ranker | None:
    """Fit P(click) on the labelled pairs of the domain's validation users; None when they have none."""
    held_out = ground.held_out[domain]
    users_R, order_R = held_out.user_nums_R.sort()
    where = {c.RUN_ID: ground.night.run_id, c.PURPOSE: c.VALIDATE, c.DOMAIN: domain}
    pairs = read_arrow(ground.night.lake, t.LABELLED_PAIRS, where=where, columns=[c.USER_NUM, c.ITEM_NUM, c.LABEL])
    pairs = pairs.sort_by([(c.USER_NUM, "ascending"), (c.ITEM_NUM, "ascending")])
    user_P, item_P, label_P = (
        torch.from_numpy(pairs[name].to_numpy().copy()) for name in (c.USER_NUM, c.ITEM_NUM, c.LABEL)
    )
    places_P = torch.searchsorted(users_R, user_P).clamp(max=len(users_R) - 1)
    kept_P = users_R[places_P] == user_P
    if not bool(kept_P.any()):
        return None
    phi_PF = phi_of_pairs(
        model, held_out.columns, order_R[places_P[kept_P]], item_P[kept_P], domain_num=held_out.domain_num,
        nums_V=ground.candidates.items[held_out.domain_num],
        popularity_V=ground.candidates.popularity[held_out.domain_num],
    )  # fmt: skip
    return fit_ranker(phi_PF, label_P[kept_P], user_P[kept_P])


main = step_command("finetune", run)

if __name__ == "__main__":
    typer.run(main)
