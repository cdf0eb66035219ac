"""A folder with logs in, this project's settings for them and its two ways through clean and prepare out."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.prepare_log import NEWEST, NUM_DAYS, TEST_START, VALID_START
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.frames.prepared.splits import AFTER_TEST
from crossrec_core.lake import Lake
from crossrec_core.settings import Settings
from jobs import clean, prepare
from jobs.prepare_events import complete, number_events, read_items, split, write_ids
from jobs.prepare_sequences import write_known_sequences
from jobs.steps import Night, run_step
from jobs.store import Store

RUN_ID = "timed"
OUR_FOLDER = "crossrec"


def job_settings(
    folder: Path, log: str, *, domains: Sequence[int], max_len: int, cores: int, driver_gib: int
) -> Settings:
    """Every number of the log's domain column that is in ``domains`` is a domain; the last days validate and test."""
    shared = {"path": str(folder / log), "format": "parquet", "time_unit": "ms", "domain_column": "domain"}
    return read_config(DEFAULTS, overrides={
        "lake": {"path": str(folder / OUR_FOLDER)},
        "spark": {"master": f"local[{cores}]", "driver_memory": f"{driver_gib}g"},
        "domains": {f"d{number}": {**shared, "domain_value": str(number)} for number in domains},
        "clean": {"newest_event": NEWEST.isoformat()},
        "split": {
            "cut": TEST_START.date().isoformat(), "valid_days": (TEST_START - VALID_START).days, "test_days": NUM_DAYS,
        },
        "sequences": {"max_len": max_len},
    })  # fmt: skip


def make_tables(settings: Settings, spark: SparkSession, *, is_whole: bool) -> None:
    """Both steps as every night runs them, or of prepare only what all contenders make; each step is recorded."""
    night = Night(RUN_ID, date.today(), Lake(settings.lake.path))
    run_step("clean", clean.run, settings, night, spark)
    run_step("prepare", prepare.run if is_whole else prepare_shared, settings, night, spark)


def prepare_shared(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """The numbers, the splits and the sequences."""
    store = Store(spark, night)
    items = read_items(settings, spark)
    interactions = complete(settings, store)
    counts = write_ids(interactions, items, settings, store)
    numbered = number_events(interactions, settings, store, items=store.read_all(t.ITEM_IDS).drop(c.RUN_ID))
    events = split(numbered, settings).where(F.col(c.SPLIT) != AFTER_TEST)
    counts |= prepare.write_events(events, items, settings, store)
    return counts | write_known_sequences(settings, store)
