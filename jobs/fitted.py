"""A trained model in; its folder, its row of the models table and its rows of training_log out (IO)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.lake import model_location
from crossrec_core.settings import FitSettings, Settings
from crossrec_core.tensors.network.checkpoint import About, save_checkpoint
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import Ranker
from crossrec_core.tensors.training.fit import EpochReport
from jobs.ground import Ground
from jobs.training import Trained

KIND = "neural"


def as_found(stage: FitSettings, found: Mapping[str, Any] | None) -> FitSettings:
    """The stage of a refit: batches as at validate, where its number of epochs was found."""
    if not found or not found["batch_size"]:
        return stage
    return replace(stage, batch_size=found["batch_size"], min_steps=0)


def describe_fit(stage: FitSettings, trained: Trained) -> dict[str, Any]:
    """What a model was trained with, for its folder and its row."""
    return {**asdict(stage), "batch_size": trained.batch_size, "epochs": trained.epochs}


def save_model(
    settings: Settings, ground: Ground, model: SequenceModel, name: str, domain: str, *,
    fitted_with: Mapping[str, Any], ranker: Ranker | None = None,
) -> str:  # fmt: skip
    """Write a model's folder; returns its location relative to the lake. Domain "all" has no candidates of its own."""
    number = ground.candidates.domains.get(domain, 0)
    about = About(KIND, name, domain, number, ground.candidates.id_fingerprint, dict(fitted_with))
    location = model_location(ground.night.run_id, ground.purpose, name, domain)
    save_checkpoint(
        ground.night.lake.at(location), model, about, candidates_V=ground.candidates.items.get(number), ranker=ranker
    )
    return location


def log_rows(ground: Ground, *, model: str, stage: str, reports: Sequence[EpochReport]) -> list[dict[str, Any]]:
    """Epoch reports as rows of training_log."""
    return [
        {
            c.RUN_ID: ground.night.run_id, c.PURPOSE: ground.purpose, c.MODEL: model, "stage": stage,
            "epoch": report.epoch, "step": report.step, c.METRIC: metric, "value": float(value),
        }
        for report in reports
        for metric, value in report.metrics.items()
    ]  # fmt: skip


def write_log(ground: Ground, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write training_log rows over those that the same models had in this run and purpose."""
    if not rows:
        return 0
    models = sorted({row[c.MODEL] for row in rows})
    replaced = {c.RUN_ID: ground.night.run_id, c.PURPOSE: ground.purpose, c.MODEL: models}
    return write_rows(ground.night.lake, t.TRAINING_LOG, rows, replace=replaced)


def model_row(
    ground: Ground, *, model: str, domain: str, location: str, fitted_with: Mapping[str, Any], seconds: float,
    kind: str = KIND,
) -> dict[str, Any]:  # fmt: skip
    """A row of the models table."""
    return {
        c.RUN_ID: ground.night.run_id, c.PURPOSE: ground.purpose, c.MODEL: model, c.DOMAIN: domain, c.KIND: kind,
        "location": location, "settings": json.dumps(fitted_with, sort_keys=True),
        "valid_ndcg": fitted_with["valid_ndcg"], "seconds": seconds,
    }  # fmt: skip
