"""A prepared run and a search space in; the settings that validate best out, as a fragment for a settings file.

    python jobs/tune.py --config conf/mine.toml --run-id RUN --set tune.model=pretrained

The run must have been cleaned, prepared and, for ``tune.model = transferred``, pretrained. Called again for the same
run it goes on where it stopped, trial numbers included. In checkpoints/RUN/tune/STUDY of the lake it leaves journal.log
(Optuna's), best.toml (``include`` it in a settings file) and summary.json; the table ``trials`` has a row per trial.
"""

import hashlib
import json
import pickle
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

try:
    import optuna
except ModuleNotFoundError:
    sys.exit("jobs/tune.py needs Optuna: pip install 'crossrec[tune]', or pip install -e '.[tune]' in the repository")
import torch
import typer
from optuna.trial import TrialState
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import parse_config, to_public_tree, to_tree
from crossrec_core.delta import write_rows
from crossrec_core.errors import ConfigError, CrossRecError
from crossrec_core.lake import tune_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from crossrec_core.tensors.devices import set_up_cpu
from jobs.folds import Fold, judged_domains, make_folds, require_local
from jobs.ground import read_ground
from jobs.processes import end_with_parent
from jobs.steps import Night, step_command
from jobs.studies import (
    Space,
    count_finished,
    ends_of,
    in_range,
    only_tuner,
    open_study,
    read_space,
    resume,
    to_fragment,
    to_summary,
    to_trial_rows,
)
from jobs.trial_fits import fit_folds, pretrain_folds, tuned_stage

SPACES = Path(__file__).resolve().parents[1] / "conf" / "search_spaces"
METRIC = "valid_ndcg@10"
# What a model's study may change: settings that prepare does not read, and that leave other stages as they are
TUNABLE = {
    c.PRETRAINED: ("model.", "train.pretrain.", "train.augment.", "train.domain_temperature", "train.temperature"),
    c.TRANSFERRED: ("train.finetune.", "train.augment."),
    c.TARGET_ONLY: ("model.", "train.target_only.", "train.augment."),
}
# Settings of [tune] that change how long it takes, not what a trial's value means
FREE = ("trials", "minutes", "jobs", "space")


@dataclass(frozen=True)
class Task:
    """All that a process needs for one trial. Folds are pickled, so that no tensor passes through shared memory."""

    settings: Settings
    space: Space
    folder: Path
    study: str
    ordinal: int  # makes the sampler's seed
    folds: bytes
    threads: int
    deadline: float  # unix seconds


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Search for better settings of one model on blocks of the training and validation windows."""
    name = f"{settings.tune.model}.{'+'.join(settings.tune.domains) or c.ALL_DOMAINS}"
    folder = require_local(night.lake.at(tune_location(night.run_id))) / name
    space = checked_space(settings)
    with only_tuner(folder):
        study = _open(settings, folder, name, ordinal=0)
        start = in_range(space, {key: _get(to_tree(settings), key) for key in space})
        resume(study, made_with=_hash(settings, space), start=start)
        ground = read_ground(settings, night, spark, c.VALIDATE)
        folds = make_folds(settings, ground, str(folder))
        if settings.tune.model == c.TRANSFERRED:
            pretrain_folds(settings, folds)
        task = Task(
            settings, space, folder, name, 0, pickle.dumps(folds),
            threads=max(1, torch.get_num_threads() // settings.tune.jobs),
            deadline=time.time() + 60 * settings.tune.minutes,
        )  # fmt: skip
        conduct(study, task)
        return _write_results(night, study, folder, folds)


def checked_space(settings: Settings) -> dict[str, optuna.distributions.BaseDistribution]:
    """The search space that ``tune.space`` names, each end of it tried against the settings.

    Raises:
        ConfigError: a name that is no setting or that the model's study may not change, or a value that it cannot have.
    """
    model = settings.tune.model
    path = Path(settings.tune.space) if settings.tune.space else SPACES / f"{model}.toml"
    space = read_space(path)
    for name, kind in space.items():
        if not name.startswith(TUNABLE[model]):
            raise ConfigError(f"{path}: {name}: not for {model}; expected names of {', '.join(TUNABLE[model])}")
        for value in ends_of(kind):
            with_values(settings, {name: value}, where=str(path))
    return space


def with_values(settings: Settings, values: Mapping[str, Any], *, where: str) -> Settings:
    """The settings with some changed, by dotted name.

    Raises:
        ConfigError: a name or value that settings cannot have; ``where`` is named.
    """
    tree = to_tree(settings)
    for name, value in values.items():
        *above, last = name.split(".")
        _get(tree, ".".join(above))[last] = value
    return parse_config(tree, where=where)


def conduct(study: optuna.Study, task: Task) -> None:
    """Run trials, ``tune.jobs`` at once, until there are ``tune.trials`` or the deadline is there.

    Raises:
        CrossRecError: a trial's process was killed; what was finished stays.
    """
    rules = task.settings.tune
    ordinal = sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    running: set[Future[None]] = set()
    with ProcessPoolExecutor(rules.jobs, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        while True:
            room = min(rules.jobs, rules.trials - count_finished(study)) - len(running)
            for _ in range(room if time.time() < task.deadline else 0):
                running.add(pool.submit(run_trial, replace(task, ordinal=ordinal)))
                ordinal += 1
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            try:
                for future in done:
                    future.result()
            except BrokenProcessPool as error:
                raise CrossRecError(
                    f"tune: a trial's process was killed (too little memory?); lower tune.jobs = {rules.jobs}, then "
                    "call tune again for the same run: it goes on"
                ) from error


def run_trial(task: Task) -> None:
    """One trial, in whatever process: ask, fit on every fold, tell."""
    set_up_cpu(task.threads)
    study = _open(task.settings, task.folder, task.study, ordinal=task.ordinal)
    trial = study.ask(dict(task.space))
    settings = with_values(task.settings, trial.params, where=f"study {task.study}, trial {trial.number}")

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune() or time.time() > task.deadline:
            raise optuna.TrialPruned

    try:
        values = fit_folds(settings, pickle.loads(task.folds), report)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return
    trial.set_user_attr("folds", values)
    study.tell(trial, sum(values) / len(values))


def _open(settings: Settings, folder: Path, name: str, *, ordinal: int) -> optuna.Study:
    num_parts = settings.tune.folds * (1 if settings.tune.model == c.PRETRAINED else len(judged_domains(settings)))
    return open_study(
        folder, name, seed=settings.tune.seed + ordinal, pruner=settings.tune.pruner,
        max_steps=num_parts * (tuned_stage(settings).max_epochs + 1),
    )  # fmt: skip


def _write_results(night: Night, study: optuna.Study, folder: Path, folds: Sequence[Fold]) -> dict[str, int]:
    """The rows of trials, and the files for people; other studies' rows stay."""
    others = [row for row in read_rows(night.lake, t.TRIALS, where={c.RUN_ID: night.run_id})
              if row["study"] != study.study_name]  # fmt: skip
    rows = to_trial_rows(study, run_id=night.run_id, metric=METRIC)
    write_rows(night.lake, t.TRIALS, [*others, *rows], replace={c.RUN_ID: night.run_id})
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise ConfigError(
            f"tune.minutes: no trial of {study.study_name} was finished in time; allow more, and call tune again"
        )
    best = study.best_trial
    about = f"{study.study_name} of run {night.run_id}: trial {best.number}, {METRIC} {best.value:.5f}"
    (folder / "best.toml").write_text(to_fragment(best.params, about=about), encoding="utf-8")
    described = [{"blocks_before_validation": fold.back, "users": fold.num_users} for fold in folds]
    summary = {"run_id": night.run_id, "folds": described, **to_summary(study, metric=METRIC)}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"{about}; include {folder / 'best.toml'} in a settings file", flush=True)
    return {"trials": len(rows), "folds": len(folds)}


def _hash(settings: Settings, space: Space) -> str:
    """What all values of a study share: settings, folds and search space."""
    tree = to_public_tree(settings)
    tree = {key: value for key, value in tree.items() if key not in ("lake", "spark")}
    tree["tune"] = {key: value for key, value in tree["tune"].items() if key not in FREE}
    shown = {name: optuna.distributions.distribution_to_json(kind) for name, kind in space.items()}
    return hashlib.sha256(json.dumps([tree, shown], sort_keys=True).encode()).hexdigest()


def _get(tree: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name.

    Raises:
        ConfigError: there is none.
    """
    value: Any = tree
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            raise ConfigError(f"{name}: unknown setting; see docs/settings.md")
        value = value[key]
    return value


main = step_command("tune", run)

if __name__ == "__main__":
    typer.run(main)
