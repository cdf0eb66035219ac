"""One whole night on the parity world, shared by the tests that look at its outcome."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from crossrec_core.config import read_config
from crossrec_core.demo.world import World, write_world
from crossrec_core.settings import Settings
from jobs.nightly import STEPS
from jobs.steps import Night, run_step, start_night
from tests.frames.plans import checked_plans

# Small enough for seconds per step, large enough that the model can see who likes what
SMALL = {
    "model": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "id_dropout": 0.0},
    "text": {"dimensions": 8, "num_buckets": 256},
    "train": {
        "threads": 1,
        "pretrain": {"max_epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 1e-2},
        "finetune": {"max_epochs": 4, "patience": 4, "batch_size": 8, "learning_rate": 3e-3},
        "target_only": {"max_epochs": 4, "patience": 4, "batch_size": 8, "learning_rate": 1e-2},
    },
    "meta": {"method": "bayes", "max_epochs": 1},
    "baselines": {"half_life_days": [30.0], "history_decay": [0.8], "popularity_share": [0.0], "als_iterations": 2},
    "blend": {"half_lives_days": [7.0, 30.0], "pool": 10, "min_users": 5, "stacked_baselines": ["markov"]},
    "spark": {"shuffle_partitions": 2},
}


@dataclass(frozen=True)
class FinishedNight:
    """A published run and the world it was made of."""

    world: World
    settings: Settings
    night: Night
    written: dict[str, list[str]]  # tables that Spark wrote, by step: their plans have been checked


@pytest.fixture(scope="session")
def finished_night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> FinishedNight:
    """Raw logs to published lists, in this process. A plan that would not scale fails here, and is shown."""
    world = write_world(tmp_path_factory.mktemp("world"))
    settings = read_config(world.config, overrides=SMALL)
    night = start_night(settings, run_id="parity", as_of=date(2024, 7, 1).isoformat())
    written = {}
    for step, run in STEPS.items():
        with checked_plans() as written[step]:
            run_step(step, run, settings, night, spark)
    return FinishedNight(world, settings, night, written)


@pytest.fixture(scope="session")
def small_settings() -> dict[str, object]:
    """Settings that make a night on the parity world quick."""
    return SMALL


def write_small(folder: Path) -> tuple[World, list[str]]:
    """A world and the command-line options that make its night quick."""
    options = [f"--set={name}={value}" for name, value in _flat(SMALL)]
    return write_world(folder), options


def _flat(tree: dict[str, object], at: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value
