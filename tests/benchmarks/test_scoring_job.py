"""The scoring benchmark's log and its job on a small scene: whole lists, and a worker of its own that solves."""

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import scoring_job as job
from benchmarks.topn_kernel import Command, workers
from crossrec_core.errors import CrossRecError
from jobs.serve import make_lists


@pytest.mark.parametrize("items", [30, 31])
def test_no_user_meets_an_item_twice_and_the_file_is_the_same_every_time(tmp_path, items):
    for name in ("one", "two"):
        job.write_events(tmp_path / name, users=40, items=items, seen=20)
    events = pq.read_table(tmp_path / "one").to_pandas()
    assert events.equals(pq.read_table(tmp_path / "two").to_pandas())
    assert (events.groupby("user_id")["item_id"].nunique() == 20).all()
    assert events["item_id"].nunique() == items


def test_shares_are_of_our_median():
    found = job.summarise({job.JOB: [3.0, 1.0, 2.0], job.SPARK_ALS: [8.0, 8.0, 8.0]}, users=100)
    assert found[job.JOB] == {"median_s": 2.0, "users_per_s": 50.0, "times_ours": 1.0}
    assert found[job.SPARK_ALS]["times_ours"] == 4.0


@pytest.mark.spark
def test_every_contender_lists_the_whole_catalogue_for_everyone(spark, tmp_path):
    job.write_events(tmp_path / "events.parquet", users=50, items=60, seen=20)
    settings = job.job_settings(tmp_path, n=10, width=8, driver_memory="1g")
    scene = job.prepare_scene(settings, spark)
    num_rows = make_lists(settings, scene.night, spark, scene.models)
    job.check_lists(scene, users=50, n=10)
    als = job.fit_als(scene, 8)
    job.list_by_als(scene, als, 10, tmp_path / "als")
    listed = spark.read.parquet(str(tmp_path / "als")).toPandas()
    known = job.read_events(scene).toPandas()
    job.save_scene(scene, tmp_path)
    assert num_rows == 51 * 10  # the list for new users too
    assert (listed.groupby("user_num").size() == 10).all()
    assert listed.merge(known, on=["user_num", "item_num"]).empty
    with np.load(tmp_path / "users.npz") as arrays:
        assert arrays["seen"].shape == (50, 20)
    ours = [Command(sys.executable, job.OWN_WORKER, (part, 2)) for part in range(2)]
    with workers(ours, tmp_path, 10) as solve:
        solve()


def test_a_worker_without_its_scene_is_one_line(tmp_path):
    command = Command(sys.executable, job.OWN_WORKER, (0, 1))
    with workers([command], tmp_path, 10) as solve, pytest.raises(CrossRecError, match=r"scoring_worker\.py: ended"):
        solve()
