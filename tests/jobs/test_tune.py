"""A whole study on a lake whose test window has been taken away, and what it leaves for people and tables."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from shutil import rmtree

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import live_files, write_rows
from crossrec_core.errors import ConfigError
from crossrec_core.lake import Lake, tune_location
from crossrec_core.lake_reader import read_rows
from jobs import pretrain, tune
from jobs.steps import Night
from tests.jobs.test_training import FIT, MAX_LEN, SETTINGS, write_world

ONE_US = 1 / 86_400_000_000  # in days: the world's events are a microsecond apart
SPACE = """
[model]
dropout = { low = 0.0, high = 0.5 }
[train.pretrain]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
"""
FINETUNE_SPACE = "[train.finetune]\nlearning_rate = { choices = [1e-3, 1e-2] }\n"
TUNE = {"folds": 2, "trials": 2, "minutes": 10, "jobs": 2, "pruner": "none", "domains": ["thin"]}


def read_settings(folder: Path, **rules):
    (folder / "world.toml").write_text(SETTINGS)
    (folder / "space.toml").write_text(SPACE)
    (folder / "finetune_space.toml").write_text(FINETUNE_SPACE)
    overrides = {
        "lake": {"path": str(folder / "lake")}, "text": {"dimensions": 0}, "sequences": {"max_len": MAX_LEN},
        "model": {"width": 16, "heads": 2, "dropout": 0.0}, "split": {"valid_days": ONE_US},
        "train": {"threads": 1, "pretrain": FIT, "finetune": FIT, "target_only": FIT},
        "tune": {"space": str(folder / "space.toml"), **TUNE, **rules},
    }  # fmt: skip
    return read_config(folder / "world.toml", overrides=overrides)


def test_a_name_that_the_models_study_may_not_change_is_refused(tmp_path):
    settings = read_settings(tmp_path)
    for text, message in (
        ("[sequences]\nmax_len = { low = 2, high = 9 }", "not for pretrained"),
        ("[train.finetune]\nlearning_rate = { low = 0.1, high = 0.2 }", "not for pretrained"),
        ("[model]\nwidht = { choices = [8] }", "unknown setting"),
        ("[model]\nwidth = { choices = [16, 15] }", "does not divide"),
        ("[model]\ndropout = { low = 0.1, high = 7.0 }", "at most"),
    ):
        (tmp_path / "space.toml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            tune.checked_space(settings)


@pytest.mark.parametrize("model", ["pretrained", "transferred", "target_only"])
def test_the_spaces_that_ship_fit_the_settings(tmp_path, model):
    settings = read_settings(tmp_path)
    shipped = replace(settings, tune=replace(settings.tune, model=model, space=""))
    assert "train." + {"pretrained": "pretrain", "transferred": "finetune"}.get(model, model) + ".learning_rate" in (
        tune.checked_space(shipped)
    )


@pytest.fixture(scope="module")
def tuned(spark, tmp_path_factory):
    """A run of which nothing but the training and validation windows is left, tuned twice over."""
    folder = tmp_path_factory.mktemp("tuning")
    settings = read_settings(folder)
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    row = {c.RUN_ID: "r1", "study": "markov.thin", "trial": 0, "settings": "{}", c.METRIC: "ndcg@10", "value": 0.5}
    write_rows(night.lake, t.TRIALS, [row], append=True)
    pretrain.run(settings, night, spark)
    removed = [file for purpose in (c.BACKTEST, c.SERVE) for table in (t.SEQUENCES, t.ITEM_POPULARITY)
               for file in live_files(night.lake, table, where={c.PURPOSE: purpose})]  # fmt: skip
    for file in removed:
        Path(file.uri).unlink()
    rmtree(night.lake.at(f"checkpoints/r1/{c.BACKTEST}"))
    counts = [tune.run(settings, night, spark)]
    longer = replace(settings, tune=replace(settings.tune, trials=3, jobs=1))
    counts.append(tune.run(longer, night, spark))
    rules = replace(settings.tune, model="transferred", space=str(folder / "finetune_space.toml"), trials=1, jobs=1)
    counts.append(tune.run(replace(settings, tune=rules), night, spark))
    assert len(removed) >= 4
    return settings, night, counts


@pytest.mark.spark
def test_a_study_reads_nothing_of_the_test_window_and_goes_on_when_called_again(tuned):
    _, night, counts = tuned
    assert counts == [{"trials": 2, "folds": 2}, {"trials": 3, "folds": 2}, {"trials": 1, "folds": 2}]
    rows = read_rows(night.lake, t.TRIALS, where={c.RUN_ID: "r1"})
    numbers = sorted((row["study"], row["trial"]) for row in rows)
    assert numbers == [
        ("markov.thin", 0), ("pretrained.thin", 0), ("pretrained.thin", 1), ("pretrained.thin", 2),
        ("transferred.thin", 0),
    ]  # fmt: skip
    assert all(0 < row["value"] <= 1 for row in rows)


@pytest.mark.spark
def test_the_first_trial_is_the_settings_as_they_are(tuned):
    settings, night, _ = tuned
    summary = json.loads(Path(night.lake.at(f"{tune_location('r1')}/pretrained.thin/summary.json")).read_text())
    assert summary["start"]["settings"] == {
        "model.dropout": 0.0, "train.pretrain.learning_rate": settings.train.pretrain.learning_rate,
    }  # fmt: skip
    assert [fold["blocks_before_validation"] for fold in summary["folds"]] == [1, 0]
    tried = [json.dumps(trial["settings"]) for trial in summary["trials"]]
    assert len(set(tried)) == len(tried) == 3  # also across calls: no seed is used twice
    best = max(summary["trials"], key=lambda trial: trial["value"])
    assert summary["best"] == best
    assert best["value"] == pytest.approx(sum(best["folds"]) / 2)


@pytest.mark.spark
def test_what_was_found_can_be_included(tuned, tmp_path):
    _, night, _ = tuned
    folder = Path(night.lake.at(f"{tune_location('r1')}/pretrained.thin"))
    best = json.loads((folder / "summary.json").read_text())["best"]["settings"]
    (tmp_path / "mine.toml").write_text(f'include = ["{folder / "best.toml"}"]\n{SETTINGS}')
    found = read_config(tmp_path / "mine.toml")
    assert found.model.dropout == best["model.dropout"]
    assert found.train.pretrain.learning_rate == best["train.pretrain.learning_rate"]


@pytest.mark.spark
def test_a_study_of_other_settings_is_refused(tuned, spark):
    settings, night, _ = tuned
    other = replace(settings, train=replace(settings.train, seed=99))
    with pytest.raises(ConfigError, match="other settings"):
        tune.run(other, night, spark)


@pytest.mark.spark
def test_no_trial_starts_after_the_time_is_up(tuned, spark):
    settings, night, _ = tuned
    late = replace(settings, tune=replace(settings.tune, trials=9, minutes=0.0))
    assert tune.run(late, night, spark) == {"trials": 3, "folds": 2}
