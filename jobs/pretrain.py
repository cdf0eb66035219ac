"""The run's sequences in, one model pretrained on all source domains out, for each purpose that is measured.

    validate: train, stop early -> checkpoints/RUN/validate/pretrained/all
    backtest: refit on train + validation for the epochs found -> checkpoints/RUN/backtest/pretrained/all

Sources are a target's own events too when it is a source itself: which domains may lend is ``roles.sources``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Sequence

import torch
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core.lake import model_location
from crossrec_core.settings import FitSettings, Settings
from crossrec_core.tensors.folders import has_file, remove_folder
from crossrec_core.tensors.inputs.batches import drop_without_targets
from crossrec_core.tensors.network.encoder import SequenceModel
from jobs.distributed import count_ranks, train_on_ranks
from jobs.fitted import as_found, describe_fit, log_rows, save_model, write_log
from jobs.ground import Ground, read_ground
from jobs.refits import load_validated, purposes_to_fit, refits, settings_found
from jobs.steps import Night, step_command
from jobs.training import Trained, new_model, train

IN_PROGRESS = "pretrained.progress"  # stands in for the model's name until it is whole


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Pretrain on all source domains."""
    counts = {"models": 0, "training_log": 0}
    for purpose in purposes_to_fit(settings, night):
        ground = read_ground(settings, night, spark, purpose)
        counts["training_log"] += fit_pretrained(settings, ground)
        counts["models"] += 1
    return counts


def fit_pretrained(settings: Settings, ground: Ground) -> int:
    """Fit or copy the pretrained model of a purpose; returns the rows written to training_log."""
    found = settings_found(ground, c.PRETRAINED, c.ALL_DOMAINS)
    if found is not None and not refits(settings, ground.purpose):
        save_model(settings, ground, load_validated(ground, c.PRETRAINED, c.ALL_DOMAINS), c.PRETRAINED, c.ALL_DOMAINS,
                   fitted_with=found)  # fmt: skip
        return 0
    stage, epochs = as_found(settings.train.pretrain, found), found["epochs"] if found else None
    sources = [name for name in settings.sources if name in ground.candidates.domains]
    progress = ground.night.lake.at(model_location(ground.night.run_id, ground.purpose, IN_PROGRESS, c.ALL_DOMAINS))
    if count_ranks(settings, ground) > 1:
        model = new_model(settings, ground)
        trained = train_on_ranks(fit_sources, settings, ground, model, stage, sources, epochs, progress)
    else:
        model, trained = fit_sources(settings, ground, stage, sources, epochs, progress)
    ndcg = found["valid_ndcg"] if found else trained.valid_ndcg
    fitted_with = {**describe_fit(stage, trained), "valid_ndcg": ndcg, "domains": sources}
    save_model(settings, ground, model, c.PRETRAINED, c.ALL_DOMAINS, fitted_with=fitted_with)
    remove_folder(progress)
    return write_log(ground, log_rows(ground, model=c.PRETRAINED, stage="pretrain", reports=trained.reports))


def ensure_pretrained(settings: Settings, ground: Ground) -> None:
    """Fit the pretrained model of a purpose unless it is there."""
    location = model_location(ground.night.run_id, ground.purpose, c.PRETRAINED, c.ALL_DOMAINS)
    if not has_file(ground.night.lake.at(location), "model.json"):
        fit_pretrained(settings, ground)


def fit_sources(
    settings: Settings, ground: Ground, stage: FitSettings, sources: Sequence[str], epochs: int | None, progress: str
) -> tuple[SequenceModel, Trained]:
    """Train fresh weights on the sources' events; alone, or on every rank of a process group."""
    numbers = torch.tensor([ground.candidates.domains[name] for name in sources])
    model = new_model(settings, ground)
    trained = train(
        settings, ground, model, stage, label="pretrain", domains=sources, epochs=epochs, progress=progress,
        pick_rows=lambda columns: drop_without_targets(columns, numbers),
    )  # fmt: skip
    return model, trained


main = step_command("pretrain", run)

if __name__ == "__main__":
    typer.run(main)
