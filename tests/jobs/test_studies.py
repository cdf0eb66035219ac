"""Optuna's side of tuning: search spaces, studies that outlive a kill, what they leave behind."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from crossrec_core.errors import ConfigError, LakeError
from jobs.studies import (
    count_finished,
    in_range,
    only_tuner,
    open_study,
    read_space,
    resume,
    to_fragment,
    to_summary,
    to_trial_rows,
)

SPACE = {"model.dropout": FloatDistribution(0.0, 0.5)}
KILLED = """
import os, signal
from pathlib import Path
from optuna.distributions import FloatDistribution
from jobs.studies import only_tuner, open_study, resume
with only_tuner(Path({folder!r})):
    study = open_study(Path({folder!r}), "s", seed=1, pruner="median", max_steps=4)
    resume(study, made_with="same", start={{"model.dropout": 0.25}})
    for value in (0.1, 0.2):
        trial = study.ask({{"model.dropout": FloatDistribution(0.0, 0.5)}})
        study.tell(trial, value)
    study.ask({{"model.dropout": FloatDistribution(0.0, 0.5)}}).report(0.9, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


ORPHAN = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from jobs.processes import end_with_parent
if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def write(folder: Path, text: str) -> Path:
    (folder / "space.toml").write_text(text)
    return folder / "space.toml"


def new_study(folder: Path, pruner: str = "none"):
    study = open_study(folder, "s", seed=1, pruner=pruner, max_steps=8)
    resume(study, made_with="same", start={"model.dropout": 0.25})
    return study


def test_a_space_is_laid_out_as_a_settings_file(tmp_path):
    text = """
[model]
width = { choices = [64, 128] }
layers = { low = 1, high = 3 }
[train.pretrain]
learning_rate = { low = 1e-4, high = 1, log = true }
"""
    assert read_space(write(tmp_path, text)) == {
        "model.width": CategoricalDistribution([64, 128]),
        "model.layers": IntDistribution(1, 3),
        "train.pretrain.learning_rate": FloatDistribution(1e-4, 1.0, log=True),
    }


@pytest.mark.parametrize(
    ("text", "seen"),
    [("[model]\nwidth = 64", "model.width"), ("[model]\nwidth = { low = 3 }", "model.width"), ("", "no setting"),
     ("[model]\nwidth = { low = 3, high = 4, pow = 2 }", "pow"), ("[model]\nwidth = { low = 5, high = 4 }", "width"),
     ("x = [", "no search space"), ("[model]\nwidth = { choices = [] }", "choices")],
)  # fmt: skip
def test_what_is_no_search_space_is_refused_by_name(tmp_path, text, seen):
    with pytest.raises(ConfigError, match=seen):
        read_space(write(tmp_path, text))


def test_a_study_goes_on_after_a_kill_with_the_next_trial_number(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED.format(folder=str(tmp_path))], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    with only_tuner(tmp_path):
        study = new_study(tmp_path)
        states = [trial.state for trial in study.trials]
        assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
        assert study.trials[0].params == {"model.dropout": 0.25}
        assert count_finished(study) == 2
        trial = study.ask(SPACE)
        assert trial.number == 3
        study.tell(trial, 0.3)
    assert study.best_trial.number == 3


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(ORPHAN)
    # A script finds the modules beside itself, and those of the repository by name only
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True, env=env)
    worker = int(parent.stdout.readline())
    assert is_running(worker)
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by twenty seconds")


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_trials_of_other_settings_are_not_mixed_in(tmp_path):
    new_study(tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        resume(open_study(tmp_path, "s", seed=1, pruner="none", max_steps=8), made_with="other", start={})


def test_two_tuners_of_one_study_are_refused(tmp_path):
    code = (
        f"from pathlib import Path; from jobs.studies import only_tuner\nwith only_tuner(Path({str(tmp_path)!r})): pass"
    )
    with only_tuner(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process tunes this study" in other.stderr
    with only_tuner(tmp_path):
        pass
    assert issubclass(LakeError, Exception)


def test_poor_trials_are_pruned_after_the_first_few(tmp_path):
    study = new_study(tmp_path, "median")
    for value in (0.5, 0.6, 0.7, 0.8):
        trial = study.ask(SPACE)
        trial.report(value, 0)
        assert not trial.should_prune()
        study.tell(trial, value)
    poor, good = study.ask(SPACE), study.ask(SPACE)
    poor.report(0.1, 0)
    good.report(0.9, 0)
    assert poor.should_prune()
    assert not good.should_prune()


def test_what_a_study_leaves_behind(tmp_path):
    study = new_study(tmp_path)
    for value in (0.2, 0.4):
        trial = study.ask(SPACE)
        trial.set_user_attr("folds", [value, value])
        study.tell(trial, value)
    pruned = study.ask(SPACE)
    pruned.report(0.1, 0)
    study.tell(pruned, state=TrialState.PRUNED)
    rows = to_trial_rows(study, run_id="r1", metric="ndcg")
    assert [(row["trial"], row["metric"], row["value"]) for row in rows] == [
        (0, "ndcg", 0.2), (1, "ndcg", 0.4), (2, "ndcg_when_pruned", 0.1),
    ]  # fmt: skip
    summary = to_summary(study, metric="ndcg")
    assert (summary["start"]["settings"], summary["best"]["trial"]) == ({"model.dropout": 0.25}, 1)
    assert (summary["num_trials"]["complete"], summary["num_trials"]["pruned"]) == (2, 1)
    assert summary["best"]["folds"] == [0.4, 0.4]


def test_a_fragment_is_toml_with_the_settings_in_their_places():
    found = {"model.width": 64, "train.pretrain.learning_rate": 1e-05, "train.pretrain.schedule": "linear",
             "train.bf16": True}  # fmt: skip
    assert tomllib.loads(to_fragment(found, about="x")) == {
        "model": {"width": 64},
        "train": {"bf16": True, "pretrain": {"learning_rate": 1e-5, "schedule": "linear"}},
    }


def test_only_values_that_the_space_could_draw_are_tried_first():
    space = {"a": FloatDistribution(0.0, 1.0), "b": IntDistribution(1, 3), "d": CategoricalDistribution([0.0, 0.1])}
    assert in_range(space, {"a": 2.0, "b": 3, "d": 0.1}) == {"b": 3, "d": 0.1}
    assert in_range({"d": CategoricalDistribution([1, 2])}, {"d": 3}) == {}
