"""Raw logs -> interactions, rejects and data_quality, and what a refresh tells changes by."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.errors import ConfigError, CrossRecError, InputError
from crossrec_core.frames.logs.clean import split_by_reason, with_reason
from crossrec_core.frames.logs.fingerprints import to_fingerprints, with_row_hash
from crossrec_core.frames.logs.raw_files import java_line
from crossrec_core.frames.logs.sources import EventColumns, read_log
from crossrec_core.frames.spark.storage import write_table
from crossrec_core.settings import DomainSettings, Settings
from jobs.changes import log_files, write_awaited, write_log_files
from jobs.steps import Night, step_command
from jobs.store import Store

UNKNOWN = "unknown"


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


def read_logs(settings: Settings, spark: SparkSession) -> DataFrame:
    """The events of all domains; a log that several domains share is read once."""
    logs: dict[tuple[str, str, str, str], dict[str, DomainSettings]] = {}
    for name, domain in settings.domains.items():
        own = "" if domain.domain_column else name
        logs.setdefault((domain.path, domain.format, domain.domain_column, own), {})[name] = domain
    frames = []
    for (path, file_format, domain_column, _), domains in logs.items():
        where = f"domains.{','.join(sorted(domains))}"
        values = {name: domain.domain_value or name for name, domain in domains.items()}
        if len(set(values.values())) < len(values):
            raise ConfigError(f"{where}.domain_value: seen {values}; expected another value for each domain of {path}")
        frames.append(
            read_log(
                spark, where=where, path=path, file_format=file_format, domain_column=domain_column,
                domain_values=values, domains={name: event_columns(domain) for name, domain in domains.items()},
            )
        )  # fmt: skip
    events, *others = frames
    for other in others:
        events = events.unionByName(other)
    return events


def event_columns(domain: DomainSettings) -> EventColumns:
    """A domain's columns as plain values."""
    return EventColumns(
        user_id=domain.user_id, item_id=domain.item_id, event_time=domain.event_time, time_unit=domain.time_unit,
        action=domain.action, default_action=domain.default_action, value=domain.value,
    )  # fmt: skip


def judge(events: DataFrame, settings: Settings, night: Night) -> DataFrame:
    """The events with their weight and the reason to reject them."""
    rules = settings.clean
    return with_reason(
        events,
        event_weights={name: domain.events for name, domain in settings.domains.items()},
        value_bounds={name: (domain.value_low, domain.value_high) for name, domain in settings.domains.items()},
        oldest=parse_moment(rules.oldest_event, where="clean.oldest_event", end_of_day=False),
        newest=newest_event(settings, night),
        drop_duplicates=rules.drop_duplicates, repeat_within_s=rules.repeat_within_s,
        max_events_per_day=rules.max_events_per_day, max_events_per_minute=rules.max_events_per_minute,
    )  # fmt: skip


def newest_event(settings: Settings, night: Night) -> datetime:
    """The last moment an event may have: that of the settings, or the end of the night's day."""
    text = settings.clean.newest_event or night.run_date.isoformat()
    return parse_moment(text, where="clean.newest_event", end_of_day=True)


def keep_what_is_written(judged: DataFrame) -> DataFrame:
    """The columns that some table needs; the text and file of a kept row, most of its bytes, stand in none."""
    is_rejected = F.col(c.REASON).isNotNull()
    where_from = [F.when(is_rejected, F.col(name)).alias(name) for name in (c.SOURCE_FILE, c.RAW_TEXT)]
    names = [name for name in t.INTERACTIONS.column_names if name != c.RUN_ID]
    return judged.select(*names, c.ROW_HASH, c.REASON, *where_from)


def parse_moment(text: str, *, where: str, end_of_day: bool) -> datetime:
    """An ISO date or time (UTC unless it says otherwise); a bare date is its first or last microsecond.

    Raises:
        ConfigError: the text is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{where}: seen {text!r}; expected an ISO date such as 2026-01-31") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    is_bare_date = len(text) <= len("2026-01-31") and moment.time() == time.min
    return moment + timedelta(days=1) - timedelta(microseconds=1) if end_of_day and is_bare_date else moment


def count_by_reason(judged: DataFrame) -> list[Row]:
    """Rows per domain and reason (null: kept), with the least and greatest hash of a user among them."""
    user = F.xxhash64(c.USER_ID)  # a number: for the least of texts Spark would sort all rows
    return (
        judged.groupBy(c.DOMAIN, c.REASON)
        .agg(F.count(F.lit(1)).alias("rows"), F.min(user).alias("first_user"), F.max(user).alias("last_user"))
        .collect()
    )


def quality_rows(counts: list[Row], spark: SparkSession) -> DataFrame:
    """data_quality: rows read, kept and rejected by reason, per domain; rows of no declared domain as 'unknown'."""
    values: dict[tuple[str, str], float] = {}
    for row in counts:
        check = "rows_kept" if row[c.REASON] is None else f"rejected:{row[c.REASON]}"
        for name in ("rows_read", check):
            key = (row[c.DOMAIN] or UNKNOWN, name)
            values[key] = values.get(key, 0.0) + row["rows"]
    rows = [(domain, check, value) for (domain, check), value in sorted(values.items())]
    return spark.createDataFrame(rows, f"{c.DOMAIN} string, check string, value double")


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


def is_awaited(domain: DomainSettings, settings: Settings) -> bool:
    """Whether a domain may be listed before its first event: from its catalogue, by what is known elsewhere."""
    return settings.score.candidates == "listed" and bool(domain.catalogue.path)


def write_rows(frame: DataFrame, table: t.Table, night: Night) -> int:
    """Write the table's columns of a frame as this run's rows."""
    rows = frame.withColumn(c.RUN_ID, F.lit(night.run_id)).select(*table.column_names)
    return write_table(rows, night.lake, table, run_id=night.run_id)


@contextmanager
def input_errors(settings: Settings) -> Iterator[None]:
    """Turn what Spark throws while it reads the logs into one line.

    Raises:
        InputError: a file that breaks off or cannot be unpacked, for instance.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        paths = ", ".join(sorted({domain.path for domain in settings.domains.values()}))
        raise InputError(
            f"domains: cannot read {paths} ({java_line(error)}); expected whole, readable files; replace the file"
        ) from error


main = step_command("clean", run)

if __name__ == "__main__":
    typer.run(main)
