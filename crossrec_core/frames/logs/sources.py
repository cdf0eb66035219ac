"""Raw files or a warehouse table in, events out: one function per log format.

A format's function gives *rows*: ``cells`` (a struct of the columns the settings name), ``is_corrupt``,
``source_file`` and ``raw_text`` (the row as it was read). ``read_log`` maps rows to events. Nothing here drops a row:
what cannot be read stays, for ``clean`` to reject with a reason. Only blank lines and header lines are no rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.errors import InputError
from crossrec_core.frames.logs.raw_files import (
    BOM,
    DELIMITERS,
    check_columns,
    check_parquet,
    java_line,
    list_files,
    read_header,
    read_json_keys,
)

CELLS, IS_CORRUPT = "cells", "is_corrupt"
VALUE_TEXT, TIME_TEXT = "value_text", "time_text"
ORDER = "order"
_MICROS_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1, ORDER: 1}


@dataclass(frozen=True, kw_only=True)
class EventColumns:
    """Which columns of a log hold a domain's events; '' where the log has no such column.

    ``time_unit`` is s, ms, us, iso or order. ``default_action`` is the event type of rows without one.
    """

    user_id: str
    item_id: str
    event_time: str
    time_unit: str
    action: str
    default_action: str
    value: str

    @property
    def names(self) -> list[str]:
        """The columns that must be there."""
        return [name for name in (self.user_id, self.item_id, self.event_time, self.action, self.value) if name]


def read_log(
    spark: SparkSession,
    *,
    where: str,
    path: str,
    file_format: str,
    domains: Mapping[str, EventColumns],
    domain_values: Mapping[str, str],
    domain_column: str = "",
) -> DataFrame:
    """Read one log into events: a row each, with columns domain, user_id, item_id, action, value, value_text,
    time_text, event_time, event_order, is_corrupt, source_file, raw_text.

    ``domain_values`` says what ``domain_column`` holds for each domain; other rows, and corrupt ones, get a null
    domain. Without that column there is exactly one domain. ``where`` names the settings block in errors.

    Raises:
        InputError: nothing at the path, an empty or unreadable file, a missing column, a wrong delimiter or format.
    """  # fmt: skip
    needed = sorted({name for columns in domains.values() for name in columns.names} | {domain_column} - {""})
    rows = read_rows(spark, where=where, path=path, file_format=file_format, needed=needed)
    placed = rows.withColumn(c.DOMAIN, domain_of(domain_column, domain_values))
    events = placed.select(c.DOMAIN, _event(domains).alias("event"), IS_CORRUPT, c.SOURCE_FILE, c.RAW_TEXT)
    return events.select(c.DOMAIN, "event.*", IS_CORRUPT, c.SOURCE_FILE, c.RAW_TEXT)


def read_rows(spark: SparkSession, *, where: str, path: str, file_format: str, needed: list[str]) -> DataFrame:
    """Read a log or catalogue of any format into rows: cells, is_corrupt, source_file, raw_text.

    Raises:
        InputError: see ``read_log``.
    """
    readers: dict[str, Callable[..., DataFrame]] = {
        "csv": read_csv, "tsv": read_tsv, "jsonl": read_jsonl, "parquet": read_parquet, "table": read_warehouse_table,
    }  # fmt: skip
    return readers[file_format](spark, path, needed, where=where)


def read_csv(spark: SparkSession, path: str, needed: list[str], *, where: str, file_format: str = "csv") -> DataFrame:
    """Comma-separated text with a header line, quoted with ``"`` (doubled inside); cells are text.

    A row with more or fewer cells than the header is corrupt. Quoted line ends are not supported: such a row is two
    corrupt ones.
    """
    files = list_files(spark, path, where=where)
    header = read_header(spark, files, file_format=file_format, where=where)
    check_columns(list(header.columns), needed, where=where, path=files[0])
    # By position: a header may hold any characters, and names that differ only in case.
    schema = ", ".join(f"c{position} string" for position in range(len(header.columns))) + ", corrupt string"
    options = {"sep": DELIMITERS[file_format], "escape": '"', "columnNameOfCorruptRecord": "corrupt"}
    lines = _read_lines(spark, path).where(~F.col(c.RAW_TEXT).isin(list(header.lines)))
    parsed = lines.withColumn("row", F.from_csv(c.RAW_TEXT, schema, options))
    cells = [F.col(f"row.c{header.columns.index(name)}").alias(name) for name in needed]
    return _to_rows(parsed, cells, is_corrupt=F.col("row.corrupt").isNotNull())


def read_tsv(spark: SparkSession, path: str, needed: list[str], *, where: str) -> DataFrame:
    """Tab-separated text with a header line; else as ``read_csv``."""
    return read_csv(spark, path, needed, where=where, file_format="tsv")


def read_jsonl(spark: SparkSession, path: str, needed: list[str], *, where: str) -> DataFrame:
    """One JSON object a line; cells are text (JSON text for numbers, lists and objects)."""
    files = list_files(spark, path, where=where)
    check_columns(read_json_keys(spark, files, where=where), needed, where=where, path=files[0])
    schema = ", ".join(f"`{name}` string" for name in needed) + ", `corrupt record` string"
    options = {"columnNameOfCorruptRecord": "corrupt record"}
    parsed = _read_lines(spark, path).withColumn("row", F.from_json(c.RAW_TEXT, schema, options))
    cells = [F.col("row").getField(name).alias(name) for name in needed]
    is_object = F.ltrim(c.RAW_TEXT).startswith("{")
    return _to_rows(parsed, cells, is_corrupt=~is_object | F.col("row").getField("corrupt record").isNotNull())


def read_parquet(spark: SparkSession, path: str, needed: list[str], *, where: str) -> DataFrame:
    """Parquet of any inner compression; cells keep their types, ``raw_text`` is the row as JSON."""
    check_parquet(spark, list_files(spark, path, where=where), where=where)
    try:
        frame = spark.read.parquet(path)
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{where}: cannot read {path} as Parquet ({java_line(error)}); check the files") from error
    return _typed_rows(frame, needed, source_file=F.col("_metadata.file_path"), where=where, path=path)


def read_warehouse_table(spark: SparkSession, name: str, needed: list[str], *, where: str) -> DataFrame:
    """A table or view that Spark's catalogue knows; cells keep their types, ``raw_text`` is the row as JSON."""
    try:
        frame = spark.table(name)
    except PySparkException as error:
        raise InputError(
            f"{where}: Spark knows no table {name} ({java_line(error)}); expected DATABASE.TABLE; check the name"
        ) from error
    return _typed_rows(frame, needed, source_file=F.lit(name), where=where, path=name)


def cell(name: str) -> Column:
    """A cell as text; null for ''."""
    return F.col(CELLS).getField(name).cast("string") if name else F.lit(None).cast("string")


def domain_of(domain_column: str, domain_values: Mapping[str, str]) -> Column:
    """The domain of a row: what its domain column says, null if it says no declared one; else the only domain."""
    if not domain_column:
        assert len(domain_values) == 1, f"{len(domain_values)} domains without a domain column"
        return F.lit(next(iter(domain_values)))
    names = [F.lit(part) for domain, value in domain_values.items() for part in (value, domain)]
    return F.when(~F.col(IS_CORRUPT), F.try_element_at(F.create_map(*names), cell(domain_column)))


def is_blank(text: Column) -> Column:
    """Whether a text is null or white space only."""
    return text.isNull() | ~text.rlike(r"\S")


def _read_lines(spark: SparkSession, path: str) -> DataFrame:
    """The lines that are not blank, without a byte order mark."""
    lines = spark.read.option("recursiveFileLookup", "true").text(path)
    line = F.when(F.col("value").startswith(BOM), F.substring("value", 2, 2**31 - 1)).otherwise(F.col("value"))
    return lines.select(line.alias(c.RAW_TEXT), F.col("_metadata.file_path").alias(c.SOURCE_FILE)).where(
        F.trim(c.RAW_TEXT) != ""
    )


def _typed_rows(frame: DataFrame, needed: list[str], *, source_file: Column, where: str, path: str) -> DataFrame:
    check_columns(frame.columns, needed, where=where, path=path)
    quoted = {name: F.col(f"`{name}`") for name in frame.columns}
    raw_text = F.to_json(F.struct(*quoted.values()))
    located = frame.select(*quoted.values(), raw_text.alias(c.RAW_TEXT), source_file.alias(c.SOURCE_FILE))
    return _to_rows(located, [quoted[name] for name in needed], is_corrupt=F.lit(False))


def _to_rows(frame: DataFrame, cells: list[Column], *, is_corrupt: Column) -> DataFrame:
    return frame.select(F.struct(*cells).alias(CELLS), is_corrupt.alias(IS_CORRUPT), c.SOURCE_FILE, c.RAW_TEXT)


def _event(domains: Mapping[str, EventColumns]) -> Column:
    """The event of a row as a struct; domains of one log may map its columns differently."""
    alike: dict[EventColumns, list[str]] = {}
    for domain, columns in domains.items():
        alike.setdefault(columns, []).append(domain)
    first, *others = alike
    event = _event_of(first)
    for columns in others:
        event = F.when(F.col(c.DOMAIN).isin(alike[columns]), _event_of(columns)).otherwise(event)
    return event


def _event_of(columns: EventColumns) -> Column:
    time_text, value_text, action = cell(columns.event_time), cell(columns.value), cell(columns.action)
    event_time, event_order = _parse_time(time_text, columns.time_unit)
    return F.struct(
        cell(columns.user_id).alias(c.USER_ID),
        cell(columns.item_id).alias(c.ITEM_ID),
        F.when(is_blank(action), F.lit(columns.default_action)).otherwise(action).alias(c.ACTION),
        value_text.try_cast("double").alias(c.VALUE),
        value_text.alias(VALUE_TEXT),
        time_text.alias(TIME_TEXT),
        event_time.alias(c.EVENT_TIME),
        event_order.alias(c.EVENT_ORDER),
    )


def _parse_time(text: Column, time_unit: str) -> tuple[Column, Column]:
    """event_time (UTC; null for positions) and event_order (unix microseconds, or the position); null if unparsable."""
    if time_unit == "iso":
        # Spark also takes '12:30' as a time of today, so the date is asked for.
        has_date = text.rlike(r"^\s*\d{4}-\d{1,2}-\d{1,2}")
        event_time = F.when(has_date, text).try_cast("timestamp")
        return event_time, F.unix_micros(event_time)
    # Decimals: exact in microseconds, and they read 1.7E9 as a column of doubles spells it. Whole numbers, which
    # nearly all logs have, are read as such, which is cheaper.
    micros = F.lit(_MICROS_PER_UNIT[time_unit])
    as_decimal = (text.try_cast("decimal(24,6)") * micros).try_cast("bigint")
    event_order = F.coalesce(F.try_multiply(text.try_cast("bigint"), micros), as_decimal)
    event_time = F.lit(None).cast("timestamp") if time_unit == ORDER else F.timestamp_micros(event_order)
    return event_time, event_order
