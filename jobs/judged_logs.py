"""Settings and the raw logs in, every row with its weight and the reason to reject it out (IO: reads the logs)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.errors import ConfigError, InputError
from crossrec_core.frames.logs.clean import with_reason
from crossrec_core.frames.logs.raw_files import java_line
from crossrec_core.frames.logs.sources import EventColumns, read_log
from crossrec_core.settings import DomainSettings, Settings
from jobs.steps import Night

UNKNOWN = "unknown"


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


def is_awaited(domain: DomainSettings, settings: Settings) -> bool:
    """Whether a domain may be listed before its first event: from its catalogue, by what is known elsewhere."""
    return settings.score.candidates == "listed" and bool(domain.catalogue.path)


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
