"""A step's ``run`` in, a recorded step out: the door machinery that every job shares.

Each job file holds ``run(settings, night, spark) -> row counts``; ``step_command`` makes its command line. Errors
become one line and exit status 1; what was committed before stays.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession

from crossrec_core.cli.one_line import one_line, one_line_errors
from crossrec_core.config import hash_config, read_config, to_public_tree
from crossrec_core.errors import ConfigError
from crossrec_core.frames.spark.session import FOR_SMALL_LOGS, start_session
from crossrec_core.lake import Lake
from crossrec_core.ledger import DONE, FAILED, RUNNING, StepRecord, read_steps, write_step
from crossrec_core.settings import Settings
from jobs.memory import MemoryMeter

PACKAGES = ("crossrec", "pyspark", "torch", "petastorm", "pyarrow", "pandas", "numpy", "deltalake", "duckdb",
            "sentence-transformers")  # fmt: skip
SMALL_LOGS = 4 * 2**20  # bytes of all inputs as text: about 130,000 events
PLAIN_TEXT = (".csv", ".tsv", ".json", ".jsonl", ".txt")
PACKED = 4  # bytes of text in a byte of Parquet or gzip


@dataclass(frozen=True)
class Night:
    """One run: its id, the date it is for, the lake it writes to."""

    run_id: str
    run_date: date
    lake: Lake


Run = Callable[[Settings, Night, SparkSession], dict[str, int]]

ConfigOption = Annotated[Path, typer.Option("--config", help="Settings file (TOML).")]
RunIdOption = Annotated[str, typer.Option("--run-id", help="The run's id; default: the date and time of the start.")]
AsOfOption = Annotated[str, typer.Option("--as-of", help="The night to run for, YYYY-MM-DD; default: today.")]
SetOption = Annotated[list[str], typer.Option("--set", help="One setting, e.g. --set lake.path=/data/lake.")]
TracebackOption = Annotated[bool, typer.Option("--traceback", help="Show the whole traceback of an error.")]


def step_command(step: str, run: Run) -> Callable[..., None]:
    """The command line of one step's script."""

    def main(
        config: ConfigOption,
        run_id: RunIdOption = "",
        as_of: AsOfOption = "",
        set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
        traceback: TracebackOption = False,
    ) -> None:
        with one_line_errors(traceback):
            settings = read_config(config, overrides=parse_overrides(set_))
            night = start_night(settings, run_id=run_id, as_of=as_of)
            with spark_session(settings) as spark:
                run_step(step, run, settings, night, spark)

    main.__doc__ = run.__doc__
    return main


def start_night(settings: Settings, *, run_id: str = "", as_of: str = "") -> Night:
    """Name the run and its date.

    Raises:
        ConfigError: a date or run id that cannot be one.
    """
    now = datetime.now(UTC)
    try:
        run_date = date.fromisoformat(as_of) if as_of else now.date()
    except ValueError as error:
        raise ConfigError(f"--as-of: seen {as_of!r}; expected a date such as 2026-01-31") from error
    name = run_id or now.strftime("%Y%m%dT%H%M%S")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"--run-id: seen {name!r}; expected letters, digits, '.', '_' and '-' only")
    return Night(name, run_date, Lake(settings.lake.path, settings.lake.storage_options))


@contextmanager
def spark_session(settings: Settings) -> Iterator[SparkSession]:
    """Spark for one or more steps, stopped at the end."""
    spark = start_session(
        "crossrec",
        master=settings.spark.master,
        driver_memory=settings.spark.driver_memory,
        shuffle_partitions=settings.spark.shuffle_partitions,
        arrow_batch_rows=settings.score.batch_users,
        options=spark_options(settings),
    )
    try:
        yield spark
    finally:
        spark.stop()


def spark_options(settings: Settings) -> dict[str, str]:
    """The user's options, above those for small logs where all inputs are on this machine and small."""
    sizes = describe_inputs(settings)
    as_text = [size * (1 if name.endswith(PLAIN_TEXT) else PACKED) for name, size in sizes.items()]
    are_small = min(as_text, default=0) >= 0 and sum(as_text) <= SMALL_LOGS
    return {**(FOR_SMALL_LOGS if are_small else {}), **settings.spark.options}


def run_step(step: str, run: Run, settings: Settings, night: Night, spark: SparkSession) -> StepRecord:
    """Run a step and keep its record: state, inputs, versions, row counts, seconds, peak memory."""
    started = time.monotonic()
    record = StepRecord(
        run_id=night.run_id, step=step, state=RUNNING, run_date=night.run_date, config_hash=hash_config(settings),
        config=json.dumps(to_public_tree(settings)), inputs=json.dumps(describe_inputs(settings)),
        versions=json.dumps(describe_versions()), row_counts="{}", started_at=datetime.now(UTC), seconds=None,
        peak_memory_mib=None, message=None,
    )  # fmt: skip
    write_step(night.lake, record)
    with MemoryMeter() as meter:
        try:
            counts = run(settings, night, spark)
        except BaseException as error:
            message = one_line(error)
            write_step(night.lake, _finished(record, FAILED, started, meter.peak_mib, "{}", message))
            raise
    record = _finished(record, DONE, started, meter.peak_mib, json.dumps(counts), None)
    write_step(night.lake, record)
    return record


def done_steps(night: Night, settings: Settings) -> set[str]:
    """Steps of this run that need not run again.

    Raises:
        ConfigError: the run was made with other settings.
    """
    records = read_steps(night.lake, night.run_id)
    if not records:
        raise ConfigError(f"--resume: no run {night.run_id} in {night.lake.path}; see `crossrec runs`")
    if any(record.config_hash != hash_config(settings) for record in records):
        raise ConfigError(
            f"--resume {night.run_id}: the settings have changed since; start a new run, or put them back"
        )
    return {record.step for record in records if record.state == DONE}


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """``a.b=value`` pairs as nested tables; values are TOML where they parse, else text."""
    import tomllib

    tree: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair}: expected NAME=VALUE, e.g. --set lake.path=/data/lake")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        node = tree
        *above, last = name.strip().split(".")
        for key in above:
            node = node.setdefault(key, {})
        node[last] = value
    return tree


def describe_inputs(settings: Settings) -> dict[str, int]:
    """The local files the domains read, with their sizes in bytes; -1 for what is not on this machine."""
    sizes = {}
    paths = {d.path for d in settings.domains.values()} | {d.catalogue.path for d in settings.domains.values()} - {""}
    for path in sorted(paths):
        found = [path] if Path(path).exists() else [str(p) for p in sorted(Path().glob(path))] if path[0] != "/" else []
        for name in found or [path]:
            file = Path(name)
            files = [p for p in file.rglob("*") if p.is_file()] if file.is_dir() else [file]
            sizes[name] = sum(p.stat().st_size for p in files) if file.exists() else -1
    return sizes


def describe_versions() -> dict[str, str]:
    """Versions of what results may depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def summary(record: StepRecord) -> str:
    """One line about a finished step."""
    counts = json.loads(record.row_counts)
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{record.step}: {record.seconds:.0f} s, {record.peak_memory_mib:,.0f} MiB; {listed}"


def _finished(
    record: StepRecord, state: str, started: float, peak_mib: float, counts: str, message: str | None
) -> StepRecord:
    seconds = time.monotonic() - started
    return replace(record, state=state, seconds=seconds, peak_memory_mib=peak_mib, row_counts=counts, message=message)
