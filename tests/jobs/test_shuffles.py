"""docs/architecture.md names every shuffle of clean and prepare; here they are counted as Spark makes them."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.prepare_log import made_histories, write_log
from benchmarks.prepare_problem import RUN_ID, job_settings
from crossrec_core.lake import Lake
from jobs import clean, prepare
from jobs.judged_logs import parse_moment
from jobs.steps import Night
from tests.frames.plans import counted_shuffles

pytestmark = pytest.mark.spark

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
ROW = re.compile(r"^\| (clean|prepare) \| (\S+) \| (\d+) \|", re.MULTILINE)


def named_shuffles(step):
    """Table -> shuffles, as the document has them."""
    rows = ROW.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    return {table: int(number) for own, table, number in rows if own == step}


def test_no_table_takes_more_shuffles_than_the_architecture_names_and_no_row_passes_python(spark, tmp_path):
    histories = made_histories(events=3000, seed=0)
    write_log(histories, tmp_path / "log", events=3000, seed=0)
    settings = job_settings(tmp_path, "log", domains=histories.domain_nums, max_len=20, cores=2, driver_gib=2)
    night = Night(RUN_ID, (parse_moment(settings.split.cut, where="", end_of_day=False) + timedelta(7)).date(),
                  Lake(settings.lake.path))  # fmt: skip
    option = "spark.sql.autoBroadcastJoinThreshold"
    usual = spark.conf.get(option)
    spark.conf.set(option, "-1")  # tables of this size would be broadcast, those of a real log are not
    try:
        for step, run in (("clean", clean.run), ("prepare", prepare.run)):
            with counted_shuffles(spark) as counts:
                run(settings, night, spark)
            named = named_shuffles(step)
            assert {table for table, number in counts.items() if number} == set(named)
            # Spark may find a side empty while it runs, and make fewer
            assert {table: number for table, number in counts.items() if number > named.get(table, 0)} == {}
    finally:
        spark.conf.set(option, usual)
