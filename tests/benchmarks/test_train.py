"""The training benchmark on small logs: who learns from what, what an epoch holds, and who is refused."""

import json
import logging
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

from benchmarks import train
from benchmarks.peers.workers import epochs
from benchmarks.train_data import Sequences, Task, save_task, to_sequences
from benchmarks.train_memory import measure_loss_memory
from crossrec_core.errors import CrossRecError

TASK = Task(
    num_items=20, length=6, width=16, layers=1, heads=2, dropout=0.0, batch_size=16, negatives=0, learning_rate=1e-3,
    precision="32-true", threads=1, seed=3,
)  # fmt: skip
EVENTS = [
    ("u", "b", 2), ("u", "a", 1), ("u", "c", 3), ("u", "only last", 9), ("v", "a", 1), ("v", "b", 2),
    ("w", "c", 5), ("w", "a", 6), ("w", "b", 7),
]  # fmt: skip


def parity_sequences(num_users=96):
    """Users walk in a ring of ten items of their parity, so that the next item is known."""
    histories = [[1 + (user % 2) + 2 * ((user // 2 + step) % 10) for step in range(9)] for user in range(num_users)]
    return Sequences(
        np.array([item for own in histories for item in own[:-1]]), np.arange(1, num_users + 1) * 8,
        np.array([own[-1] for own in histories]), 20,
    )  # fmt: skip


def test_the_last_event_is_held_out_and_only_training_items_have_numbers():
    found = to_sequences(EVENTS, users=0)  # v has too few events
    assert found.num_items == 3
    by_truth = {int(truth): found.of(user).tolist() for user, truth in enumerate(found.truth_U)}
    assert by_truth == {0: [1, 2, 3], 2: [3, 1]}  # a, b, c are 1, 2, 3; nobody trained on "only last"


def test_a_part_of_the_users_is_the_same_every_time():
    events = [(f"u{user}", f"i{place}", place) for user in range(50) for place in range(4 + user)]
    few, all_of_them = to_sequences(events, users=5), to_sequences(list(reversed(events)), users=0)
    lengths = np.diff(few.ends_U, prepend=0)
    assert len(lengths) == 5
    assert lengths.tolist() == np.diff(all_of_them.ends_U, prepend=0)[:5].tolist()


def test_targets_are_the_latest_events_but_the_first_of_a_history():
    sequences = Sequences(np.arange(1, 13), np.array([2, 12]), np.array([5, 5]), 12)
    assert sequences.count_targets(4) == 1 + 4
    assert sequences.count_targets(50) == 1 + 9


def test_judging_leaves_seen_items_out_and_counts_unknown_ones_as_misses():
    users_UD, items_VD = np.ones((3, 1), np.float32), np.arange(12, 0, -1, dtype=np.float32)[:, None]  # item 1 is best
    sequences = Sequences(np.array([1, 2, 1, 3]), np.array([2, 3, 4]), np.array([4, 2, 0]), 12)
    # 1 and 2 are seen, so that 4 is second; 1 is seen, so that 2 is first; the third can hit nothing
    assert train.judge(users_UD, items_VD, sequences) == pytest.approx((1 / math.log2(3) + 1 + 0) / 3)
    short = Sequences(np.arange(1, 12), np.array([11]), np.array([0]), 12)
    assert train.judge(users_UD[:1], items_VD, short) == 0  # empty places of a list are no hit


@pytest.mark.parametrize(
    ("targets", "quality", "message"),
    [(4, 0.5, "4 targets an epoch; expected 5"), (8, 0.5, "8 targets an epoch"), (6, 0.4, "by chance it is 0.37")],
)
def test_who_trained_on_something_else_or_learned_nothing_is_refused(targets, quality, message):
    sequences = Sequences(np.arange(1, 13), np.array([2, 12]), np.array([5, 5]), 12)
    fine = {"targets": 7, "weights": 1}
    train.check_trained({"peer": fine}, {"peer": 1.2}, sequences, length=4)  # one more per user is let through
    with pytest.raises(CrossRecError, match=message):
        train.check_trained({"peer": {**fine, "targets": targets}}, {"peer": quality}, sequences, length=4)


@pytest.mark.parametrize("negatives", [0, 40])
def test_this_project_learns_in_turns_from_all_targets(tmp_path, monkeypatch, negatives):
    sequences, task = parity_sequences(), replace(TASK, negatives=negatives)
    found = train.train_in_turns(
        task, sequences, {train.OURS: train.CONTENDERS[train.OURS]}, repetitions=10, environments=tmp_path
    )
    row = found["results"][train.OURS]
    assert len(found["seconds"][train.OURS]) == 10
    assert row["targets"] == sequences.count_targets(task.length) == 96 * 6
    assert row["ndcg_10"] > 0.6
    assert row["sequences_per_s"] == pytest.approx(96 / row["median_s"], rel=0.1)


def test_the_report_holds_both_losses_with_those_who_can(tmp_path, monkeypatch):
    asked = []

    def made_run(task, sequences, contenders, *, repetitions, environments):
        asked.append((task.negatives, task.num_items, set(contenders), repetitions))
        return {"seconds": {}, "results": {}}

    monkeypatch.setattr(train, "train_in_turns", made_run)
    monkeypatch.setattr(train, "measure_loss_memory", lambda **sizes: sizes)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setitem(train.LOGS, "made", lambda data, work: EVENTS)
    train.main(out=tmp_path / "deep" / "train.json", log=["made"], epochs=9, negatives=2, threads=1)
    report = json.loads((tmp_path / "deep" / "train.json").read_text())
    everyone = set(train.CONTENDERS)
    assert asked == [(0, 3, everyone, 7), (2, 3, everyone - {"RecBole SASRec"}, 7)]
    assert [(run["log"], run["loss"], run["users"]) for run in report["runs"]] == [
        ("made", "full softmax", 2), ("made", "sampled softmax", 2),
    ]  # fmt: skip
    assert report["versions"]["peers"]["rectools"][0] == "rectools[torch]==0.19.0"
    assert report["loss memory"]["items"] == 1_000_000
    train.main(out=tmp_path / "short.json", log=["made"], short=True, threads=1)
    assert asked[-1][2] == {train.OURS, train.FASTEST_PEER}


def test_times_are_of_our_median():
    about = {who: {"targets": 9, "weights": 7} for who in (train.OURS, "peer")}
    rows = train.summarise({train.OURS: [0.5, 2.0, 0.1], "peer": [2.0, 2.0, 0.1]}, {train.OURS: 0.2, "peer": 0.1},
                           about, users=10)  # fmt: skip
    assert rows["peer"] == {
        "median_s": 2.0, "sequences_per_s": 5.0, "times_ours": 4.0, "ndcg_10": 0.1, "targets": 9, "weights": 7,
    }  # fmt: skip


def test_a_worker_whose_vectors_do_not_score_as_its_package_does_is_refused(tmp_path, monkeypatch):
    save_task(TASK, parity_sequences(), tmp_path)
    monkeypatch.setattr("sys.argv", ["made_epochs.py", str(tmp_path), "7", "1"])
    monkeypatch.setattr("sys.stdout", None)
    with warnings.catch_warnings():
        job = epochs.read_job()
    logging.disable(logging.NOTSET)
    assert (job.epochs, job.variant, len(job.sequences), job.task["width"]) == (7, 1, 96, 16)
    users_UD, items_VD = np.eye(3), np.arange(6.0).reshape(2, 3)
    counts = {"num_targets": 1, "num_weights": 2}
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        epochs.save_vectors(job, users_UD, items_VD, 1 + users_UD[:2] @ items_VD.T, **counts)
    epochs.save_vectors(job, users_UD, items_VD, users_UD[:2] @ items_VD.T, **counts)
    command = train.Command(Path("python"), Path("made_epochs.py"), (1,))
    assert int(train.read_vectors(tmp_path, command)["weights"]) == 2
    with pytest.raises(CrossRecError, match=r"^made_epochs\.py: trained, but wrote no made_epochs-2\.npz"):
        train.read_vectors(tmp_path, replace(command, numbers=(2,)))


def test_padding_of_peers_lies_before_the_latest_events():
    rows = epochs.padded([np.array([1, 2, 3, 4]), np.array([5])], 3)
    assert rows.tolist() == [[2, 3, 4], [0, 0, 5]]


def test_the_whole_softmax_never_holds_its_logits():
    found = measure_loss_memory(positions=4096, items=100_000, width=16, threads=1)
    assert found["logits_mib"] == pytest.approx(4096 * 100_000 * 4 / 2**20, abs=0.1)
    assert 0.01 < found["share"] < 0.3


def test_only_others_can_be_skipped():
    with pytest.raises(typer.BadParameter, match="--skip crossrec: expected some of RecTools"):
        train.main(skip=["RecBole SASRec", "crossrec"])


def test_an_unknown_log_is_named():
    with pytest.raises(typer.BadParameter, match="none_such: expected some of movielens_1m"):
        train.main(log=["none_such"])
