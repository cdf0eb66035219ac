"""What outside models are given, how their scores become lists, and what is tuned."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers import environments
from benchmarks.peers import run as peer_run
from benchmarks.peers.environments import peer_python
from benchmarks.peers.exchange import read_lists, read_seconds, to_arrays
from benchmarks.peers.registry import PEERS, WORKERS, check_peers
from crossrec_core.errors import ConfigError, InputError

sys.path.insert(0, str(WORKERS))
import search  # it is no part of a package: a worker runs it without the product

# Users 1 to 3 and 9; item 50 is new at backtest, 60 is known to the test split only
EVENTS = pd.DataFrame(
    [
        (1, 10, 1.0, "train"), (1, 10, 2.0, "train"), (1, 20, 1.0, "train"), (1, 30, 1.0, "valid"),
        (2, 20, 1.0, "train"), (2, 30, 1.0, "train"), (2, 50, 1.0, "valid"), (2, 60, 1.0, "test"),
        (3, 30, 1.0, "train"), (3, 10, 1.0, "out_of_core"),
    ],
    columns=["user_num", "item_num", "weight", "split"],
)  # fmt: skip
TRUTHS = {
    "validate": pd.DataFrame({"user_num": [1, 2, 9], "item_num": [30, 50, 20]}),
    "backtest": pd.DataFrame({"user_num": [2, 3], "item_num": [60, 20]}),
}


@pytest.fixture
def problem():
    return to_arrays(EVENTS, TRUTHS, max_validation_users=10, exclude_seen=True)


def test_a_purpose_knows_its_own_events_only(problem):
    validate, backtest = (search.read_known(problem, purpose) for purpose in ("validate", "backtest"))

    assert problem["user_nums"].tolist() == [1, 2, 3, 9]
    assert problem["item_nums"].tolist() == [10, 20, 30, 50]
    assert validate.matrix.toarray().tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert backtest.matrix.toarray().tolist() == [[3, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert backtest.seen[2].indices.tolist() == [0, 2]  # out of the core: seen, and nothing to learn
    assert problem["validate_truth"].tolist() == [2, -1, 1]  # 50 had no event before
    assert problem["validate_truth_indptr"].tolist() == [0, 1, 2, 3]
    assert (problem["validate_judged"].tolist(), problem["backtest_judged"].tolist()) == ([0, 1, 3], [1, 2])


def test_validation_users_are_sampled(problem):
    fewer = to_arrays(EVENTS, TRUTHS, max_validation_users=2, exclude_seen=True)

    assert len(fewer["validate_judged"]) == 2
    assert set(fewer["validate_judged"]) < set(problem["validate_judged"])
    assert len(fewer["validate_truth"]) == 2


def test_lists_leave_out_what_is_seen_or_no_candidate_and_break_ties_by_item(problem):
    lists = search.rank(lambda rows_B: np.ones((len(rows_B), 4)), search.read_known(problem, "validate"), n=4)

    assert lists.tolist() == [[2, -1, -1, -1], [0, -1, -1, -1], [0, 1, 2, -1]]  # user 9 gets popularity


def test_a_log_that_allows_repeats_lists_seen_items():
    problem = to_arrays(EVENTS, TRUTHS, max_validation_users=10, exclude_seen=False)
    lists = search.rank(lambda rows_B: np.ones((len(rows_B), 4)), search.read_known(problem, "validate"), n=3)

    assert lists.tolist() == [[0, 1, 2]] * 3


def test_ndcg_of_users_with_several_and_unreachable_items():
    lists = np.array([[3, 1], [5, 6], [0, -1]])
    value = search.mean_ndcg(lists, truth=np.array([1, 3, 5, -1]), starts=np.array([0, 2, 3, 4]))

    assert value == pytest.approx((1 + 1 + 0) / 3)


def test_the_better_option_is_tuned_and_the_rest_is_on_record():
    problem = to_arrays(EVENTS, TRUTHS, max_validation_users=10, exclude_seen=False)
    likes = {"good": [0.0, 1.0, 9.0, 0.0], "bad": [9.0, 1.0, 0.0, 0.0]}
    model = search.Model(
        suggest=lambda trial: {"kind": trial.suggest_categorical("kind", ["bad", "good"])},
        fit=lambda matrix, options, seed: lambda rows_B: np.tile(likes[options["kind"]], (len(rows_B), 1)),
    )
    found = search.tune(model, problem, seed=1, trials=8, minutes=1.0)
    by_kind = {trial["options"]["kind"]: trial["ndcg"] for trial in found["trials"]}

    assert found["options"] == {"kind": "good"}
    assert found["ndcg"] == by_kind["good"] > by_kind["bad"]
    assert len(found["trials"]) == 8


def test_factors_and_biases_make_scores():
    users, items = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 5.0], [3.0, 4.0]])

    assert search.by_factors(users, items)(np.array([1])).tolist() == [[10.0, 8.0]]
    assert search.by_factors(users, items, np.array([0.0, 3.0]))(np.array([1, 0])).tolist() == [
        [10.0, 11.0],
        [1.0, 6.0],
    ]


def test_a_worker_tunes_once_and_its_lists_are_read_back(problem, tmp_path, monkeypatch):
    seeds = []

    def fit(matrix, options, seed):
        seeds.append(seed)
        return lambda rows_B: np.tile([1.0, 2.0, 3.0, 4.0], (len(rows_B), 1))

    np.savez(tmp_path / "a.npz", **problem)
    model = search.Model(suggest=lambda trial: {"k": trial.suggest_int("k", 1, 1)}, fit=fit)
    for seed in ("11", "12"):
        given = {"model": "m", "problem": tmp_path / "a.npz", "lists": tmp_path / "lists.npz",
                 "options": tmp_path / "o.json", "seed": seed, "n": 2, "trials": 3}  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["worker", *(str(x) for key, x in given.items() for x in (f"--{key}", x))])
        search.main({"m": model})
    listed = read_lists(tmp_path / "a.npz", tmp_path / "lists.npz", model="m", domain="a")

    assert seeds == [11, 11, 11, 11, 12]  # three trials and a fit, then a fit
    assert listed[["user_num", "item_num", "rank"]].to_numpy().tolist() == [[2, 10, 1], [3, 50, 1], [3, 20, 2]]
    assert read_seconds(tmp_path / "lists.npz") >= 0


def test_an_environment_is_made_once_per_set_of_requirements(tmp_path, monkeypatch):
    calls = []

    def note(step, **_):
        calls.append(step)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(environments.subprocess, "run", note)
    first, again = (peer_python("some", ["a==1"], tmp_path) for _ in range(2))
    other = peer_python("some", ["a==2"], tmp_path)

    assert first == again != other
    assert [call[-1] for call in calls] == [str(first.parents[1]), "a==1", str(other.parents[1]), "a==2"]


def test_a_package_that_does_not_install_names_its_log(tmp_path, monkeypatch):
    failed = SimpleNamespace(returncode=1, stdout="", stderr="no such wheel")
    monkeypatch.setattr(environments.subprocess, "run", lambda step, **_: failed)

    with pytest.raises(InputError, match=r"pip\.log") as caught:
        peer_python("some", ["a==1"], tmp_path)
    assert Path(str(caught.value).partition("read ")[2].partition(",")[0]).read_text() == "no such wheel"


def test_a_worker_that_fails_names_its_log_and_leaves_no_lists(tmp_path, monkeypatch):
    failing = tmp_path / "worker.py"
    failing.write_text("raise SystemExit('out of memory')")
    monkeypatch.setattr(peer_run, "peer_python", lambda *_: sys.executable)
    monkeypatch.setitem(PEERS, "some_model", SimpleNamespace(name="some", worker=failing, requirements=()))

    with pytest.raises(InputError, match="some_model, a: its worker ended with 1"):
        peer_run.fit_peer("some_model", "a", tmp_path, tmp_path, seed=1, n=10)
    assert "out of memory" in (tmp_path / "a-some_model-1.log").read_text()
    assert not list(tmp_path.glob("*.npz"))


def test_every_peer_has_its_worker_and_unknown_ones_are_refused():
    assert all(package.worker.is_file() for package in PEERS.values())
    with pytest.raises(ConfigError, match=r"made\.toml: main: peers: unknown spotify; expected some of"):
        check_peers(["implicit_als", "spotify"], "made.toml: main")
