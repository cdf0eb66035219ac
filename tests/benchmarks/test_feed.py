"""The feed is raced over the same files, and what is claimed of its batches is checked, not only timed."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.feed import check_same, main, memory_of_epochs, read, summarise
from benchmarks.feed_readers import LENGTH, from_feed, from_petastorm, from_pyarrow, write_files
from benchmarks.peers.registry import WORKERS
from benchmarks.workers import Command, workers
from crossrec_core.errors import CrossRecError

WORKER = """
import sys
sys.path.insert(0, {folder!r})
from feed_turns import answer, read_task
task = read_task()
def read():
    print([file.name for file in task.files], task.batch_size, task.threads, file=sys.stderr)
    yield {{"user_num": [1] * 3}}
    yield {{"user_num": [1] * 2}}
answer(task, read)
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("feed"), rows=500, files=3, row_group_rows=100)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_all_readers_give_the_same_rows(paths):
    readers = (
        partial(from_feed, paths, batch_size=64, threads=2, shuffle=True),
        partial(from_feed, paths, batch_size=64, threads=2, shuffle=False),
        partial(from_petastorm, paths, batch_size=64, threads=1),
        partial(from_pyarrow, paths, batch_size=64),
    )
    found = []
    for reader in readers:
        batches = list(reader())
        users, items = (torch.cat([batch[name] for batch in batches]) for name in ("user_num", "items"))
        assert items.shape == (500, LENGTH)
        found.append(items[users.argsort()])
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_pass_stops_once_its_rows_have_come_and_fails_where_they_do_not(paths):
    def endless():
        while True:
            yield {"user_num": torch.zeros(64)}

    read(endless, rows=1)
    read(partial(from_pyarrow, paths, batch_size=64), rows=500)
    with pytest.raises(CrossRecError, match="500 rows came; expected 501"):
        read(partial(from_pyarrow, paths, batch_size=64), rows=501)


def test_batches_that_do_not_follow_from_seed_and_epoch_are_refused(paths):
    epoch = partial(from_feed, paths, batch_size=64, threads=2, shuffle=True)
    check_same(epoch)
    with pytest.raises(CrossRecError, match="seed and epoch"):
        check_same(lambda *, epoch: from_pyarrow(paths, batch_size=64))  # every epoch the same
    with pytest.raises(CrossRecError, match="seed and epoch"):
        check_same(lambda *, epoch: iter([{"user_num": torch.rand(3)}]))  # never the same


def test_memory_is_measured_after_every_epoch(paths):
    kept, epochs = [], []

    def leaking(*, epoch):
        epochs.append(epoch)
        kept.append(torch.ones(2**24))  # 64 MiB
        yield from from_pyarrow(paths, batch_size=64)

    found = memory_of_epochs(leaking, epochs=4)
    assert epochs == [0, 1, 2, 3]
    assert found[3] - found[0] > 150


def test_medians_are_held_against_plain_pyarrow():
    seconds = {"pyarrow.dataset": [1.0, 2.0, 9.0], "feed": [3.0, 4.0, 5.0]}
    first = {"pyarrow.dataset": [0.1, 0.2, 0.3], "feed": [0.5, 0.5, 7.0]}
    assert summarise(seconds, first, rows=100)["feed"] == {
        "median_s": 4.0, "rows_per_s": 25, "times_pyarrow": 2.0, "first_batch_s": 0.5,
    }  # fmt: skip


def test_a_worker_answers_when_its_rows_have_come_and_ends_where_they_do_not(tmp_path, capfd):
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(folder=str(WORKERS)), encoding="utf-8")
    for name in ("b.parquet", "a.parquet"):
        (tmp_path / name).touch()
    for rows in (1, 5):
        with workers([Command(Path(sys.executable), script, (2, rows))], tmp_path, 64) as turn:
            turn()
            turn()
    assert capfd.readouterr().err.splitlines() == ["['a.parquet', 'b.parquet'] 64 2"] * 4
    with (
        pytest.raises(CrossRecError, match="ended early"),
        workers([Command(Path(sys.executable), script, (2, 6))], tmp_path, 64) as turn,
    ):
        turn()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_the_command_writes_rates_first_batches_and_memory(tmp_path):
    out = tmp_path / "feed.json"
    main(out=out, rows=600, files=2, many_files=6, row_group_rows=50, batch_size=64, threads=1, epochs=3, repetitions=5,
         peers=False, environments=tmp_path)  # fmt: skip
    report = json.loads(out.read_text(encoding="utf-8"))
    names = {"feed, shuffled", "feed, in order", "petastorm alone", "pyarrow.dataset"}
    assert set(report["results"]) == set(report["seconds"]) == set(report["first_batch_seconds"]) == names
    assert all(len(passes) == 5 for passes in report["first_batch_seconds"].values())
    assert all(row["first_batch_s"] > 0 for row in report["results"].values())
    assert len(report["mib_after_epoch"]) == 3
    assert report["settings"]["many_files"] == 6
