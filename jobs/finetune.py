"""Pretrained models in; for every target domain a transferred model and its control out.

    transferred: the strategy of train.transfer that is best on validation; reads mixed sequences
    target_only: the control: starts fresh, reads and learns the target's events alone

All stop early at validate, on the same budget: the epochs of train.finetune over the target's rows. Only what was
chosen there is refitted elsewhere, for the epochs found. The click probability is fitted on the validation users'
labelled pairs with the validate model, calibrated together with the other domains', and goes with the models of all
purposes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.settings import FitSettings, Settings
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import recalibrate
from crossrec_core.tensors.training.finetune import (
    as_read_by,
    best_strategy,
    pick_joint_rows,
    pick_rows,
    pick_source_rows,
    untested_strategy,
)
from jobs.fitted import as_found, describe_fit, log_rows, model_row, save_model, write_log
from jobs.ground import Ground, read_ground
from jobs.networks import NEURAL, neural_models, stage_of, strategies_of
from jobs.pretrain import ensure_pretrained
from jobs.processes import run_fits
from jobs.rankers import ranker_of
from jobs.refits import load_pretrained, load_validated, purposes_to_fit, refits, settings_found
from jobs.steps import Night, step_command
from jobs.training import Columns, Trained, count_rows, judge, new_model, train


@dataclass(frozen=True)
class Attempt:
    """One strategy's model and how its training went."""

    strategy: str
    model: SequenceModel
    trained: Trained


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Finetune on every target domain, beside a control without transfer."""
    counts = {"models": 0, "training_log": 0}
    for purpose in purposes_to_fit(settings, night):
        ground = read_ground(settings, night, spark, purpose)
        targets = [domain for domain in settings.targets if domain in ground.candidates.domains]
        fitted = {model: targets if model in neural_models(settings) else [] for model in NEURAL}
        # Without a target event to learn from there is no such model
        fitted[c.TARGET_ONLY] = [
            domain for domain in fitted[c.TARGET_ONLY] if _num_rows(settings, ground, domain, c.TARGET_ONLY)
        ]
        tasks = [(domain, model, None) for model in NEURAL for domain in fitted[model]]
        results = run_fits(_fit_domain, settings, ground, tasks, label=f"finetune ({purpose})")
        for model in NEURAL:
            rows = [row for row, _ in results if row[c.MODEL] == model]
            if purpose == c.VALIDATE:
                recalibrate(ground.folders(model, fitted[model]))
            replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: model}
            counts["models"] += write_rows(night.lake, t.MODELS, rows, replace=replaced)
        counts["training_log"] += write_log(ground, [row for _, logged in results for row in logged])
    return counts


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
    if model == c.TRANSFERRED:
        ensure_pretrained(settings, ground)
    row, logged = _fit_domain(settings, ground, domain, model, epochs)
    write_log(ground, logged)
    return row


def _fit_domain(
    settings: Settings, ground: Ground, domain: str, name: str, epochs: int | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One model of one target, its folder written: its row of the models table, and its rows of training_log."""
    held_out = {key: as_read_by(rows, model_name=name) for key, rows in ground.held_out.items()}
    ground = replace(ground, held_out=held_out)
    found = settings_found(ground, name, domain)
    if found is not None and not refits(settings, ground.purpose):
        return _save(settings, ground, load_validated(ground, name, domain), name, domain, found, 0.0), []
    if found is not None and found["valid_ndcg"] is None:
        found = None  # nothing was found: what to do untested depends on the events that there are now
    epochs = found["epochs"] if epochs is None and found else epochs
    best, trained = _best_attempt(settings, ground, domain, name, found, epochs)
    measured = {strategy: outcome.valid_ndcg for strategy, outcome in trained.items()}
    fitted_with = {
        **describe_fit(stage_of(settings, name), trained[best.strategy]), "strategy": best.strategy,
        "valid_ndcg": found["valid_ndcg"] if found else measured[best.strategy],
        "strategies": found["strategies"] if found else measured,
    }  # fmt: skip
    logged = [
        row
        for strategy, outcome in trained.items()
        for row in log_rows(ground, model=f"{name}.{domain}", stage=strategy, reports=outcome.reports)
    ]
    seconds = sum(outcome.seconds for outcome in trained.values())
    return _save(settings, ground, best.model, name, domain, fitted_with, seconds), logged


def _best_attempt(
    settings: Settings, ground: Ground, domain: str, name: str, found: Mapping[str, Any] | None, epochs: int | None
) -> tuple[Attempt, dict[str, Trained]]:
    """Train every strategy that is asked for; only the best model so far is kept in memory beside the next one."""
    stage, trained = as_found(stage_of(settings, name), found), {}
    best: Attempt | None = None
    for strategy in _strategies_to_fit(settings, ground, name, domain, found):
        attempt = _attempt(settings, ground, domain, strategy, stage, epochs)
        trained[strategy] = attempt.trained
        if best is None or best_strategy({s: trained[s].valid_ndcg for s in (best.strategy, strategy)}) == strategy:
            best = attempt
    assert best is not None, f"no strategy for {name}"
    return best, trained


def _strategies_to_fit(
    settings: Settings, ground: Ground, name: str, domain: str, found: Mapping[str, Any] | None
) -> list[str]:
    """All where validation can tell which is best; else the one found there, or the one to take untested.

    A domain that nobody has touched in a way that teaches gets the pretrained model as it is, listed or not.
    """
    if found is not None:
        return [found["strategy"]]
    if name == c.TRANSFERRED and not _num_rows(settings, ground, domain, c.PARAMETER):
        return [c.ZERO_SHOT]
    listed = strategies_of(settings, name)
    if not _source_nums(settings, ground, domain):
        listed = [strategy for strategy in listed if strategy != c.JOINT] or [c.PARAMETER]
    return listed if domain in ground.held_out else [untested_strategy(listed)]


def _attempt(
    settings: Settings, ground: Ground, domain: str, strategy: str, stage: FitSettings, epochs: int | None
) -> Attempt:
    """Train one strategy from its start."""
    model = _start(settings, ground, strategy)
    if strategy == c.ZERO_SHOT:
        return Attempt(strategy, model, judge(ground, model, domain))
    number = ground.candidates.domains[domain]
    if strategy == c.JOINT:
        domains = [domain, *(source for source in settings.sources if source != domain)]
        rows = _joint_rows(settings, ground, stage, domain)
    else:
        domains, rows = [domain], lambda columns: pick_rows(columns, strategy=strategy, domain_num=number)
    trained = train(
        settings, ground, model, stage, label=f"{strategy} {domain}", domains=domains, pick_rows=rows, epochs=epochs,
        strategy=strategy, target=domain,
    )  # fmt: skip
    return Attempt(strategy, model, trained)


def _joint_rows(settings: Settings, ground: Ground, stage: FitSettings, domain: str) -> Callable[[Columns], Columns]:
    """The target's rows and, drawn anew each epoch, about as many others: the sources may be far larger."""
    number, source_nums = ground.candidates.domains[domain], torch.tensor(_source_nums(settings, ground, domain))
    num_rows = _num_rows(settings, ground, domain, c.JOINT)
    num_others = count_rows(
        settings, ground, stage, lambda columns: pick_source_rows(columns, domain_num=number, source_nums=source_nums)
    )
    share = num_rows / max(num_others, 1)
    generator = torch.Generator().manual_seed(settings.train.seed)
    return lambda columns: pick_joint_rows(
        columns, domain_num=number, source_nums=source_nums, share=share, generator=generator
    )


def _num_rows(settings: Settings, ground: Ground, domain: str, strategy: str) -> int:
    """The sequences that teach a strategy the domain."""
    number = ground.candidates.domains[domain]
    return count_rows(
        settings, ground, settings.train.finetune,
        lambda columns: pick_rows(columns, strategy=strategy, domain_num=number),
    )  # fmt: skip


def _source_nums(settings: Settings, ground: Ground, domain: str) -> list[int]:
    """The numbers of the other domains that lend."""
    domains = ground.candidates.domains
    return [domains[source] for source in settings.sources if source in domains and source != domain]


def _start(settings: Settings, ground: Ground, strategy: str) -> SequenceModel:
    """Fresh weights; but for the control overwritten by the pretrained ones of the same purpose."""
    model = new_model(settings, ground)
    if strategy != c.TARGET_ONLY:
        model.load_state_dict(load_pretrained(ground).state_dict())
    return model


def _save(
    settings: Settings, ground: Ground, model: SequenceModel, name: str, domain: str,
    fitted_with: Mapping[str, Any], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    ranker = ranker_of(ground, model, name, domain)
    location = save_model(settings, ground, model, name, domain, fitted_with=fitted_with, ranker=ranker)
    return model_row(ground, model=name, domain=domain, location=location, fitted_with=fitted_with, seconds=seconds)


main = step_command("finetune", run)

if __name__ == "__main__":
    typer.run(main)
