"""A run's neural models in, smaller ones beside them out, with what they cost: scored and measured like any model.

    int8        transferred -> transferred_int8: item vectors and linear maps in eight bits
    distilled   transferred -> transferred_distilled: a narrower student of it, trained on the same sequences

Run it between finetune and score. training_log keeps size_ratio (bytes of the float folder / bytes of the small one),
valid_ndcg and valid_ndcg_lost (share of the float model's). The guard chooses among the float models.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import ConfigError
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.network.checkpoint import Checkpoint, load_checkpoint
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import Ranker, recalibrate
from crossrec_core.tensors.training.compress import compress, folder_bytes, save_int8
from crossrec_core.tensors.training.distil import student_config
from crossrec_core.tensors.training.finetune import as_read_by, pick_rows
from crossrec_core.tensors.training.fit import EpochReport
from crossrec_core.tensors.training.validation import mean_ndcg
from jobs.fitted import KIND, as_found, describe_fit, log_rows, model_row, save_model, write_log
from jobs.ground import Ground, read_ground
from jobs.lists import FittedModel, read_models
from jobs.networks import NEURAL, stage_of
from jobs.rankers import fit_domain_ranker
from jobs.refits import purposes_to_fit, settings_found
from jobs.steps import Night, step_command
from jobs.training import new_model, train

KIND_INT8 = "neural_int8"


@dataclass(frozen=True)
class Small:
    """A compressed model that has been saved."""

    model: SequenceModel
    location: str
    fitted_with: Mapping[str, Any]
    reports: tuple[EpochReport, ...] = ()


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Compress the run's neural models and measure what it costs."""
    mode, counts = settings.compress.mode, {"models": 0, "training_log": 0}
    if mode == "none":
        return counts
    for purpose in purposes_to_fit(settings, night):
        ground = read_ground(settings, night, spark, purpose)
        fitted = [model for model in read_models(night, purpose, domains=settings.targets) if model.name in NEURAL]
        made = [compress_model(settings, ground, model) for model in fitted]
        for name in NEURAL if purpose == c.VALIDATE and mode == "distilled" else ():
            recalibrate(ground.folders(f"{name}_{mode}", [model.domain for model in fitted if model.name == name]))
        replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: [f"{name}_{mode}" for name in NEURAL]}
        counts["models"] += write_rows(night.lake, t.MODELS, [row for row, _ in made], replace=replaced)
        counts["training_log"] += sum(num_logged for _, num_logged in made)
    return counts


def compress_model(settings: Settings, ground: Ground, fitted: FittedModel) -> tuple[dict[str, Any], int]:
    """Make and save the small copy of one model: its row of the models table, and the rows written to training_log.

    Raises:
        ConfigError: ``model.heads`` does not divide ``compress.width``.
    """
    started, name = time.monotonic(), f"{fitted.name}_{settings.compress.mode}"
    held_out = {key: as_read_by(users, model_name=fitted.name) for key, users in ground.held_out.items()}
    ground = replace(ground, held_out=held_out)
    whole_path = ground.night.lake.at(fitted.location)
    whole = load_checkpoint(
        whole_path, id_fingerprint=ground.candidates.id_fingerprint, num_items=ground.config.num_items
    )  # fmt: skip
    is_int8 = settings.compress.mode == "int8"
    small = (_to_int8 if is_int8 else _distil)(settings, ground, whole, fitted, name)
    measures = _measure(ground, whole.model, small.model, fitted.domain)
    measures["size_ratio"] = folder_bytes(whole_path) / folder_bytes(ground.night.lake.at(small.location))
    logged = log_rows(ground, model=f"{name}.{fitted.domain}", stage="distil", reports=small.reports)
    last = EpochReport(0, 0, measures)
    logged += log_rows(ground, model=f"{name}.{fitted.domain}", stage="compress", reports=[last])
    row = model_row(
        ground, model=name, domain=fitted.domain, location=small.location, fitted_with=small.fitted_with,
        seconds=time.monotonic() - started, kind=KIND_INT8 if is_int8 else KIND,
    )  # fmt: skip
    return {**row, "valid_ndcg": measures.get("valid_ndcg", row["valid_ndcg"])}, write_log(ground, logged)


def _to_int8(settings: Settings, ground: Ground, whole: Checkpoint, fitted: FittedModel, name: str) -> Small:
    """The same weights in eight bits; the click probability is the float model's."""
    small, fitted_with = compress(whole.model), {**whole.about.settings, "compressed_from": fitted.name}
    about = replace(whole.about, kind=KIND_INT8, model=name, settings=fitted_with)
    location = model_location(ground.night.run_id, ground.purpose, name, fitted.domain)
    save_int8(ground.night.lake.at(location), small, about, ranker=whole.ranker)
    return Small(small, location, fitted_with)


def _distil(settings: Settings, ground: Ground, whole: Checkpoint, fitted: FittedModel, name: str) -> Small:
    """A student, stopped early at validate and refitted elsewhere for the epochs found, as its teacher was."""
    try:
        config = student_config(ground.config, width=settings.compress.width)
    except ValueError as error:
        raise ConfigError(f"compress.width: {error}; expected a multiple of model.heads") from error
    found = settings_found(ground, name, fitted.domain)
    stage, number = as_found(stage_of(settings, fitted.name), found), ground.candidates.domains[fitted.domain]
    student = new_model(settings, ground, config)
    whole.model.to(ground.device)
    strategy = c.TARGET_ONLY if fitted.name == c.TARGET_ONLY else c.PARAMETER
    trained = train(
        settings, ground, student, stage, label=f"{name} {fitted.domain}", domains=[fitted.domain],
        pick_rows=lambda columns: pick_rows(columns, strategy=strategy, domain_num=number),
        epochs=found["epochs"] if found else None, teacher=whole.model,
    )  # fmt: skip
    fitted_with = {
        **describe_fit(stage, trained), **asdict(settings.compress), "compressed_from": fitted.name,
        "valid_ndcg": found["valid_ndcg"] if found else trained.valid_ndcg,
    }  # fmt: skip
    ranker = _ranker_of_student(ground, student, name, fitted.domain)
    location = save_model(settings, ground, student, name, fitted.domain, fitted_with=fitted_with, ranker=ranker)
    return Small(student, location, fitted_with, trained.reports)


def _ranker_of_student(ground: Ground, student: SequenceModel, name: str, domain: str) -> Ranker | None:
    """Fitted at validate; elsewhere the one that was fitted there, if any."""
    if ground.purpose == c.VALIDATE:
        return fit_domain_ranker(ground, student, domain) if domain in ground.held_out else None
    path = ground.night.lake.at(model_location(ground.night.run_id, c.VALIDATE, name, domain))
    return load_checkpoint(path).ranker if has_file(path, "ranker.json") else None


def _measure(ground: Ground, whole: SequenceModel, small: SequenceModel, domain: str) -> dict[str, float]:
    """Validation NDCG@10 of the small model and the share of the float model's that it lost; nothing elsewhere."""
    if domain not in ground.held_out:
        return {}
    users = ground.held_out[domain]
    nums_V = ground.candidates.items[users.domain_num]
    with torch.no_grad():
        before, after = (mean_ndcg(model.cpu().eval(), users, nums_V) for model in (whole, small))
    return {"valid_ndcg": after, "valid_ndcg_lost": (before - after) / before if before else 0.0}


main = step_command("compress", run)

if __name__ == "__main__":
    typer.run(main)
