"""The increment benchmark on a small scene: several ways to the same lists."""

import pytest

from benchmarks import increment
from benchmarks.scoring_suite import scene as made
from crossrec_core import tables as t
from crossrec_core.lake_reader import read_rows


def test_shares_are_of_the_whole_nights_median():
    found = increment.summarise({increment.FEW: [1.0, 9.0, 2.0], increment.WHOLE: [20.0, 10.0, 40.0]})
    assert found[increment.FEW] == {"median_s": 2.0, "share_of_whole": 0.1}


@pytest.mark.spark
def test_all_ways_publish_the_same_lists_and_the_check_sees_what_differs(spark, tmp_path):
    log = tmp_path / "events.parquet"
    log.mkdir()
    made.write_events(log / "until_yesterday.parquet", users=50, items=60, seen=20)
    settings = made.job_settings(tmp_path, n=10, shape=made.Shape(8, 1, 1, 20), driver_memory="1g")
    scene = increment.publish_night(settings, spark)
    increment.add_events(log / "today.parquet", num_changed=5, users=50, items=60, seen=20)
    increment.refreshed(scene, "few0")
    increment.refreshed(scene, "compared0", every_row=True)
    increment.refreshed(scene, "all0", everyone=True)
    increment.whole_night(scene, "whole0")
    increment.check_same(scene, num_changed=5)
    with pytest.raises(AssertionError, match="6 lists written; expected 4"):
        increment.check_same(scene, num_changed=3)
    changed = read_rows(scene.night.lake, t.USER_FINGERPRINTS, where={"run_id": "few0"})
    assert sorted(row["user_id"] for row in changed) == sorted(["__new__", "u0", "u10", "u20", "u30", "u40"])
