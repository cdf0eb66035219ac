"""The scoring benchmark's log, its job on a small scene, its workers and the check that every list goes through."""

import sys
from contextlib import ExitStack

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import scoring_job as job
from benchmarks.peers.registry import RECTOOLS_LISTS, REPLAY_LISTS
from benchmarks.scoring_suite.checks import check_lists
from benchmarks.scoring_suite.contenders import ITEM, OWN_WORKER, USER, Contender, Name, start
from benchmarks.scoring_suite.scene import Shape, job_settings, prepare_scene, save_scene, write_events
from benchmarks.workers import Command, workers
from crossrec_core.errors import CrossRecError

SHAPE = Shape(width=8, layers=1, heads=2, history=15)


@pytest.mark.parametrize("items", [30, 31])
def test_no_user_meets_an_item_twice_and_the_file_is_the_same_every_time(tmp_path, items):
    for name in ("one", "two"):
        write_events(tmp_path / name, users=40, items=items, seen=20)
    events = pq.read_table(tmp_path / "one").to_pandas()
    assert events.equals(pq.read_table(tmp_path / "two").to_pandas())
    assert (events.groupby("user_id")["item_id"].nunique() == 20).all()
    assert events["item_id"].nunique() == items


def test_shares_are_of_our_median():
    found = job.summarise({job.JOB: [3.0, 1.0, 2.0], "Spark ALS": [8.0, 8.0, 8.0]}, users=100)
    assert found[job.JOB] == {"median_s": 2.0, "users_per_s": 50.0, "times_ours": 1.0}
    assert found["Spark ALS"]["times_ours"] == 4.0


def test_all_make_their_lists_before_any_is_timed_and_those_who_check_themselves_are_not_read():
    solved = []
    contenders = {name: Contender(lambda name=name: solved.append(name), None) for name in ("one", "two")}
    job.solve_and_check(contenders, users=1, n=1)
    assert solved == ["one", "two"]


@pytest.mark.spark
@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([(1, 7), (1, 8), (2, 7), (2, 9)], None),
        ([(1, 7), (1, 8)], "Someone: 1 lists, 1 of them whole; expected 2"),
        ([(1, 7), (1, 8), (2, 7)], "Someone: 2 lists, 1 of them whole; expected 2"),
        ([(1, 7), (1, 8), (2, 7), (2, 7)], "Someone: 2 lists, 1 of them whole; expected 2"),
        ([(1, 7), (1, 8), (2, 8), (2, 9)], "Someone: 1 rows are items that their user knows; expected none"),
    ],
)
def test_a_list_that_is_short_or_repeats_or_says_what_its_user_knows_is_refused(spark, rows, complaint):
    lists, known = (
        spark.createDataFrame(pairs, f"{USER} long, {ITEM} long") for pairs in (rows, [(1, 9), (2, 8), (3, 7)])
    )
    if complaint is None:
        check_lists("Someone", lists, known, users=2, n=2)
        return
    with pytest.raises(CrossRecError, match=f"^{complaint}$"):
        check_lists("Someone", lists, known, users=2, n=2)


@pytest.mark.spark
def test_contenders_that_need_no_other_package_list_the_whole_catalogue_for_everyone(spark, tmp_path):
    write_events(tmp_path / "events.parquet", users=50, items=60, seen=20)
    scene = prepare_scene(job_settings(tmp_path, n=10, shape=SHAPE, driver_memory="1g"), spark)
    save_scene(scene, tmp_path)
    with ExitStack() as stack:
        contenders = {
            name: start(name, scene, tmp_path, stack, n=10, shape=SHAPE, environments=tmp_path)
            for name in (Name.JOB, Name.KERNEL, Name.ALS)
        }
        job.solve_and_check(contenders, users=50, n=10)
        lists, known = contenders[Name.JOB].read()
        assert lists.count() == 500
        assert known.count() == 1000
    check_files(tmp_path)


def check_files(folder):
    """What other packages read tells the same as our own worker's file, and encoders see the latest events."""
    with np.load(folder / "users.npz") as arrays:
        items_UL, seen_US = arrays["item_nums"], arrays["seen"]
    histories = pq.read_table(folder / "histories.parquet").to_pandas()
    interactions = pq.read_table(folder / "interactions.parquet").to_pandas()
    assert items_UL.shape == (50, 15)
    assert (np.stack(histories["item_id"]) == items_UL - 1).all()
    assert (np.stack(histories["seen_ids"]) == seen_US - 1).all()
    in_order = interactions.sort_values(["user_id", "datetime"]).groupby("user_id")["item_id"].agg(list)
    assert [items[-15:] for items in in_order] == histories["item_id"].map(list).tolist()
    assert [sorted(items) for items in in_order] == histories["seen_ids"].map(sorted).tolist()
    assert sorted(interactions["item_id"].unique()) == list(range(60))


def test_a_worker_without_its_scene_is_one_line(tmp_path):
    command = Command(sys.executable, OWN_WORKER, (0, 1))
    with workers([command], tmp_path, 10) as solve, pytest.raises(CrossRecError, match=r"scoring_worker\.py: ended"):
        solve()


def test_both_peers_have_their_worker_and_their_versions_pinned():
    for package in (RECTOOLS_LISTS, REPLAY_LISTS):
        assert package.worker.is_file()
        assert "==" in package.requirements[0]
