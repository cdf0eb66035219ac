"""A search space and a folder in, a study that outlives its process out: Optuna's side of tuning, and what it found."""

import fcntl
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from crossrec_core import columns as c
from crossrec_core.errors import ConfigError, LakeError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
MADE_WITH = "made_with"
STARTUP_TRIALS = 4  # are never pruned

Space = Mapping[str, BaseDistribution]


def read_space(path: Path) -> dict[str, BaseDistribution]:
    """Dotted setting name -> what may be tried, from a TOML file laid out as a settings file.

    A leaf is ``{ low, high }`` with ``log`` or ``step`` if wanted (whole numbers where both ends are), or
    ``{ choices }``.

    Raises:
        ConfigError: the file is missing or no TOML, or a leaf is neither.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no search space ({error}); see conf/search_spaces/") from error
    space = {name: _to_distribution(leaf, where=f"{path}: {name}") for name, leaf in _leaves(tree)}
    if not space:
        raise ConfigError(
            f"{path}: names no setting; expected e.g. dropout = {{ low = 0.1, high = 0.5 }} below [model]"
        )
    return space


def open_study(folder: Path, name: str, *, seed: int, pruner: str, max_steps: int) -> optuna.Study:
    """The study of a folder, new or as it was left: a journal that several processes may write.

    ``max_steps`` is how often a trial reports at most. The sampler is TPE (Bergstra et al. 2011).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=_make_pruner(pruner, max_steps),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
    )


@contextmanager
def only_tuner(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        LakeError: another process tunes this study now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LakeError(f"{folder}: another process tunes this study; wait for it or stop it") from error
        yield


def resume(study: optuna.Study, *, made_with: str, start: Mapping[str, Any]) -> None:
    """Make a study ready to go on: trials whose process is gone have failed; a new study tries ``start`` first.

    ``made_with`` stands for all that makes values comparable. Call it under ``only_tuner``.

    Raises:
        ConfigError: the study holds trials of other settings, folds or search space.
    """
    if not study.trials:
        study.set_user_attr(MADE_WITH, made_with)
        study.enqueue_trial(dict(start))
    if study.user_attrs.get(MADE_WITH) != made_with:
        raise ConfigError(
            f"study {study.study_name}: its trials were made with other settings, folds or search space; "
            "put them back, or tune another --run-id"
        )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def count_finished(study: optuna.Study) -> int:
    """Trials that count against the budget: complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def in_range(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the space could have drawn."""
    return {name: values[name] for name, kind in space.items() if _holds(kind, values[name])}


def ends_of(kind: BaseDistribution) -> tuple[Any, ...]:
    """The values that must be valid settings for all between to be: every choice, or both ends."""
    if isinstance(kind, CategoricalDistribution):
        return tuple(kind.choices)
    assert isinstance(kind, FloatDistribution | IntDistribution), kind
    return kind.low, kind.high


def to_trial_rows(study: optuna.Study, *, run_id: str, metric: str) -> list[dict[str, Any]]:
    """Rows of ``trials``; a pruned trial has its last value, under another metric: it saw fewer folds or epochs."""
    return [
        {
            c.RUN_ID: run_id, "study": study.study_name, "trial": trial.number,
            "settings": json.dumps(trial.params, sort_keys=True),
            c.METRIC: metric if trial.state == TrialState.COMPLETE else f"{metric}_when_pruned",
            "value": float(trial.value),
        }
        for trial in study.get_trials(deepcopy=False, states=FINISHED)
        if trial.value is not None
    ]  # fmt: skip


def to_fragment(params: Mapping[str, Any], *, about: str) -> str:
    """The settings found as TOML: what ``include`` in a settings file takes."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in sorted(params.items())]
    return "\n".join([f"# {about}", *lines, ""])


def to_summary(study: optuna.Study, *, metric: str) -> dict[str, Any]:
    """What a reader wants to know of a study: how many trials, the start, the best, and every value."""
    trials = study.get_trials(deepcopy=False)
    best = study.best_trial
    return {
        "study": study.study_name,
        "metric": metric,
        "num_trials": {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState},
        "start": _describe(trials[0]),
        "best": _describe(best),
        "trials": [_describe(trial) for trial in trials if trial.state in FINISHED],
    }


def _describe(trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {
        "trial": trial.number, "state": trial.state.name.lower(), "value": trial.value, "settings": trial.params,
        "folds": trial.user_attrs.get("folds", []), "seconds": seconds,
    }  # fmt: skip


def _leaves(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{at}.{key}" if at else key
        if isinstance(value, dict) and not value.keys() & {"low", "high", "choices"}:
            yield from _leaves(value, name)
        else:
            yield name, value


def _to_distribution(leaf: Any, *, where: str) -> BaseDistribution:
    expected = "expected { low, high } with log or step, or { choices }"
    options = {key: value for key, value in leaf.items() if key in ("log", "step")} if isinstance(leaf, dict) else {}
    try:
        match leaf:
            case {"choices": list(choices), **rest} if choices and not rest:
                return CategoricalDistribution(choices)
            case {"low": int(low), "high": int(high), **rest} if rest.keys() == options.keys():
                return IntDistribution(low, high, **options)
            case {"low": int() | float() as low, "high": int() | float() as high, **rest} if (
                rest.keys() == options.keys()
            ):
                return FloatDistribution(low, high, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: seen {leaf!r} ({error}); {expected}") from error
    raise ConfigError(f"{where}: seen {leaf!r}; {expected}")


def _holds(kind: BaseDistribution, value: Any) -> bool:
    ends = ends_of(kind)
    return value in ends if isinstance(kind, CategoricalDistribution) else bool(ends[0] <= value <= ends[1])


def _make_pruner(name: str, max_steps: int) -> optuna.pruners.BasePruner:
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(max_steps, 1))
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return optuna.pruners.NopPruner()
