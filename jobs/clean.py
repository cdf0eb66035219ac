"""Raw logs -> interactions, rejects and data_quality, and what a refresh tells changes by."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.errors import CrossRecError, InputError
from crossrec_core.frames.logs.clean import split_by_reason
from crossrec_core.frames.logs.fingerprints import to_fingerprints, with_row_hash
from crossrec_core.frames.spark.storage import write_table
from crossrec_core.settings import Settings
from jobs.changes import log_files, write_awaited, write_log_files
from jobs.judged_logs import (
    count_by_reason,
    input_errors,
    is_awaited,
    judge,
    newest_event,
    quality_rows,
    read_logs,
)
from jobs.steps import Night, step_command
from jobs.store import Store


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Read every log once, reject what the fixed rules forbid, keep the rest."""
    store = Store(spark, night)
    write_log_files(log_files(settings, spark), store)
    events = with_row_hash(read_logs(settings, spark), newest=newest_event(settings, night))
    rows_read = Observation()
    judged = judge(events.observe(rows_read, F.count(F.lit(1)).alias("rows")), settings, night)
    judged = keep_what_is_written(judged).persist()
    try:
        with input_errors(settings):
            counts = count_by_reason(judged)
        cleaned = split_by_reason(judged)
        write_rows(quality_rows(counts, spark), t.DATA_QUALITY, night)
        num_rejected = write_rows(cleaned.rejected, t.REJECTS, night)
        check_domains(counts, judged, settings)
        write_rows(to_fingerprints(judged), t.USER_FINGERPRINTS, night)
        write_awaited(judged, counts, store)
        num_kept = write_rows(cleaned.kept, t.INTERACTIONS, night)
    finally:
        judged.unpersist()
    num_read = rows_read.get["rows"]
    if num_kept + num_rejected != num_read:
        num_read = events.count()  # a task that Spark ran twice was observed twice
    if num_kept + num_rejected != num_read:
        raise CrossRecError(
            f"clean: read {num_read} rows, kept {num_kept}, rejected {num_rejected}; expected kept + rejected = read; "
            "run the step again, the logs may have changed meanwhile"
        )
    return {"read": num_read, t.INTERACTIONS.name: num_kept, t.REJECTS.name: num_rejected}


def keep_what_is_written(judged: DataFrame) -> DataFrame:
    """The columns that some table needs; the text and file of a kept row, most of its bytes, stand in none."""
    is_rejected = F.col(c.REASON).isNotNull()
    where_from = [F.when(is_rejected, F.col(name)).alias(name) for name in (c.SOURCE_FILE, c.RAW_TEXT)]
    names = [name for name in t.INTERACTIONS.column_names if name != c.RUN_ID]
    return judged.select(*names, c.ROW_HASH, c.REASON, *where_from)


def check_domains(counts: list[Row], judged: DataFrame, settings: Settings) -> None:
    """Check that every domain kept events of two users at least; one that has not begun yet needs none.

    Raises:
        InputError: one that did not, with the reasons its rows were rejected for.
    """
    for name, domain in settings.domains.items():
        rows = [row for row in counts if row[c.DOMAIN] == name]
        if not rows and is_awaited(domain, settings):
            continue
        kept = next((row for row in rows if row[c.REASON] is None), None)
        if kept is not None and kept["first_user"] != kept["last_user"]:
            continue
        rejects = sorted((-row["rows"], row[c.REASON]) for row in rows if row[c.REASON] is not None)
        reasons = ", ".join(f"{reason} {-num}" for num, reason in rejects[:3]) or "none rejected"
        seen = "no event"
        if kept is not None:
            own = judged.where((F.col(c.DOMAIN) == name) & F.col(c.REASON).isNull())
            seen = f"{kept['rows']} events of one user ({own.agg(F.min(c.USER_ID)).collect()[0][0]})"
        num_read = sum(row["rows"] for row in rows)
        raise InputError(
            f"domains.{name}: {seen} left of {num_read} rows read from {domain.path} ({reasons}); "
            "expected events of 2 users at least; check the columns, time_unit, events and domain_value of this block"
        )


def write_rows(frame: DataFrame, table: t.Table, night: Night) -> int:
    """Write the table's columns of a frame as this run's rows."""
    rows = frame.withColumn(c.RUN_ID, F.lit(night.run_id)).select(*table.column_names)
    return write_table(rows, night.lake, table, run_id=night.run_id)


main = step_command("clean", run)

if __name__ == "__main__":
    typer.run(main)
