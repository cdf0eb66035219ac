"""A raw log in, seconds and memory of cleaning and preparing it by this project and others out, as JSON.

All make the same tables from the same Parquet files: events kept, rejects with reasons, dense numbers, splits, and each
user's latest events for three purposes. What they made is compared row by row before and after the clock runs.

python benchmarks/prepare.py                                                    # a made-up log of 300,000 events
python benchmarks/prepare.py --data ../shared/data/kuairand/events.parquet --events 4080800 --events 16000000 \
    --events 64000000                                                           # the real one, and larger ones drawn
python benchmarks/prepare.py --fewer "crossrec, all tables=1" --skip pandas      # fewer runs, someone left out
python benchmarks/prepare.py --skew --events 4000000                            # an even log and a skewed one
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import PANDAS, POLARS, REPLAY_PREPARE, WORKERS
from benchmarks.prepare_log import (
    NEWEST,
    TEST_START,
    VALID_START,
    Histories,
    made_histories,
    read_histories,
    to_millis,
    write_log,
)
from benchmarks.prepare_problem import OUR_FOLDER
from benchmarks.prepare_results import Print, check_same, print_files, print_lake
from benchmarks.report import write_report
from benchmarks.timing import read_counts, turns
from benchmarks.workers import Command, workers
from crossrec_core.errors import ConfigError, CrossRecError
from jobs.memory import MemoryMeter

OUR_WORKER = Path(__file__).resolve().with_name("prepare_worker.py")
SHARED, WHOLE, DUCKDB = "crossrec, the shared tables", "crossrec, all tables", "DuckDB"
PEERS = ("Polars", "pandas", "RePlay on Polars", "RePlay on Spark")
NAMES = (SHARED, WHOLE, DUCKDB, *PEERS)
SMALL_EVENTS = 20_000  # of the log that warms and that is compared first
LARGE_EVENTS = 20_000_000  # above it each run has a process of its own: what one remembers would crowd the others
SEED = 1


@dataclass(frozen=True)
class Contender:
    """Who makes the tables, where they lie, and how they are read."""

    command: Command
    folder: str
    is_replay: bool = False  # no rejects, and moments instead of milliseconds

    def print(self, folder: Path) -> Print:
        """What it made last."""
        if self.folder == OUR_FOLDER:
            return print_lake(folder / OUR_FOLDER)
        return print_files(folder / self.folder, has_rejects=not self.is_replay, has_moments=self.is_replay)


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/prepare.json"),
    events: Annotated[list[int], typer.Option(min=1000, help="of a log; one or several")] = [300_000],  # noqa: B006
    data: Annotated[str, typer.Option(help="Parquet of window, position, domain, item; '' for a made-up log")] = "",
    skew: Annotated[bool, typer.Option(help="an even and a skewed log, made up, and no peers")] = False,
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    large_repetitions: Annotated[int, typer.Option(min=1, help="the same above 20 million events")] = 2,
    fewer: Annotated[list[str], typer.Option(help="NAME=COUNT: fewer timed runs of a slow one")] = [],  # noqa: B006
    skip: Annotated[list[str], typer.Option(help="leave one of the contenders out")] = [],  # noqa: B006
    max_len: Annotated[int, typer.Option(min=1, help="events of a sequence")] = 50,
    cores: Annotated[int, typer.Option(min=1, help="threads of each")] = 2,
    driver_gib: Annotated[int, typer.Option(min=1, help="memory of Spark's JVM, at every size")] = 4,
    peers: Annotated[bool, typer.Option(help="time other packages too, in environments that are made once")] = True,
    environments: Annotated[Path, typer.Option(help="where these lie")] = Path(".cache/peers"),
    work: Annotated[Path | None, typer.Option(help="where logs and results lie meanwhile")] = None,
) -> None:
    """Compare what all contenders make, time them in turns at every size, and print medians."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    counts = read_counts(fewer, names=NAMES, repetitions=repetitions)
    if unknown := sorted(set(skip) - {WHOLE, *PEERS}):  # the others are what all are held against
        raise ConfigError(f"--skip {', '.join(unknown)}: expected some of {', '.join((WHOLE, *PEERS))}")
    runs = []
    for size, log in product(sorted(events), ("even", "skewed") if skew else ("",)):
        histories = read_histories(Path(data)) if data and not skew else made_histories(
            events=size, seed=SEED, is_skewed=log == "skewed"
        )  # fmt: skip
        contenders = make_contenders(
            histories.domain_nums, cores=cores, driver_gib=driver_gib,
            environments=environments if peers and not skew else None,
        )  # fmt: skip
        contenders = {name: contender for name, contender in contenders.items() if name not in skip}
        with tempfile.TemporaryDirectory(dir=work) as folder:
            rows = write_logs(histories, Path(folder), events=size)
            check_contenders(contenders, Path(folder), max_len)
            times = large_repetitions if size > LARGE_EVENTS else repetitions
            found = time_contenders(
                contenders, Path(folder), max_len=max_len, repetitions=times, fewer=counts,
                is_large=size > LARGE_EVENTS,
            )  # fmt: skip
        runs.append({"log": log, "events": size, "rows": rows, "repetitions": times} | found)
        runs[-1]["results"] = summarise(found["seconds"], found["peak_mib"], found["jvm_mib"], rows)
        print_table(runs[-1])
        write_report(  # after every size: the next may take hours
            out,
            packages=["pyspark", "duckdb"],
            peers=(POLARS, PANDAS, REPLAY_PREPARE) if peers and not skew else (),
            settings={"data": Path(data).name, "max_len": max_len, "cores": cores, "driver_gib": driver_gib,
                      "fewer": counts, "skipped": skip},
            runs=runs,
            exponents=exponents(runs),
            times_even=times_even(runs) if skew else {},
        )  # fmt: skip
    typer.echo(f"exponents {exponents(runs)}; skewed, times even: {times_even(runs) if skew else {}}")


def make_contenders(
    domains: Sequence[int], *, cores: int, driver_gib: int, environments: Path | None
) -> dict[str, Contender]:
    """Ours and DuckDB, and the others where there is a folder for their environments."""
    python = Path(sys.executable)
    rules = (*(to_millis(moment) for moment in (VALID_START, TEST_START, NEWEST)), *domains)
    contenders = {
        name: Contender(Command(python, OUR_WORKER, (cores, is_whole, driver_gib, *domains)), OUR_FOLDER)
        for name, is_whole in ((SHARED, 0), (WHOLE, 1))
    }
    contenders[DUCKDB] = Contender(Command(python, WORKERS / "prepare_duckdb.py", (cores, *rules)), "duckdb")
    if environments is None:
        return contenders
    polars, pandas, replay = (
        peer_python(package.name, package.requirements, environments) for package in (POLARS, PANDAS, REPLAY_PREPARE)
    )
    by_polars, by_pandas, by_replay_polars, by_replay_spark = PEERS
    contenders |= {
        by_polars: Contender(Command(polars, WORKERS / "prepare_polars.py", (cores, *rules)), "polars"),
        by_pandas: Contender(Command(pandas, WORKERS / "prepare_pandas.py", (cores, *rules)), "pandas"),
    }
    for name, folder, is_spark in ((by_replay_polars, "replay_polars", 0), (by_replay_spark, "replay_spark", 1)):
        numbers = (cores, is_spark, driver_gib, *rules)
        contenders[name] = Contender(Command(replay, WORKERS / "prepare_replay.py", numbers), folder, is_replay=True)
    return contenders


def write_logs(histories: Histories, folder: Path, *, events: int) -> int:
    """The small log and the other one; returns the rows of the latter."""
    write_log(histories, folder / "small", events=min(SMALL_EVENTS, events), seed=SEED)
    return write_log(histories, folder / "log", events=events, seed=SEED)


def check_contenders(contenders: Mapping[str, Contender], folder: Path, max_len: int) -> None:
    """Let everyone prepare the small log.

    Raises:
        CrossRecError: one of them ended, or made other rows than ours.
    """
    prints: dict[str, Print] = {}
    for name, contender in contenders.items():
        with workers([contender.command], folder, max_len) as solve:
            solve()
        prints[name] = contender.print(folder)
        check_same(name, prints[name], prints[SHARED])


def time_contenders(
    contenders: Mapping[str, Contender], folder: Path, *, max_len: int, repetitions: int, fewer: Mapping[str, int],
    is_large: bool,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of each run and peaks of memory by contender, in turns; everyone has prepared the small log before.

    A contender that ends early, as one does that runs out of memory, has failed and is left out from then on. What it
    made at first is compared with ours.

    Raises:
        CrossRecError: other rows than ours.
    """
    found: dict[str, Any] = {"seconds": {}, "peak_mib": {}, "jvm_mib": {}, "failed": {}}
    prints: dict[str, Print] = {}
    started: dict[str, Callable[[], None]] = {}
    with ExitStack() as stack:
        for name, _ in turns(list(contenders), repetitions=repetitions, fewer=fewer):
            contender = contenders[name]
            if name in found["failed"]:
                continue
            try:
                with ExitStack() as own:
                    holder = own if is_large else stack
                    if is_large or name not in started:
                        started[name] = holder.enter_context(workers([contender.command], folder, max_len))
                        started[name]()  # the small log
                    line = contender.command.line(folder, max_len)
                    whole = own.enter_context(MemoryMeter(lambda line=line: tree_of(line)))
                    jvm = own.enter_context(MemoryMeter(lambda line=line: [p for p in tree_of(line) if is_java(p)]))
                    clock = time.perf_counter()
                    started[name]()
                    seconds = round(time.perf_counter() - clock, 3)
            except CrossRecError as error:
                found["failed"][name] = str(error)
                typer.echo(f"{name}: {error}")
                continue
            for key, value in (("seconds", seconds), ("peak_mib", whole.peak_mib), ("jvm_mib", jvm.peak_mib)):
                found[key].setdefault(name, []).append(round(value, 3))
            typer.echo(f"{name}: {seconds:.1f} s")  # the JSON is written after the last of many
            if name not in prints:
                prints[name] = contender.print(folder)
                check_same(name, prints[name], prints[SHARED])
            shutil.rmtree(folder / contender.folder)
    return found


def tree_of(line: Sequence[str]) -> list[psutil.Process]:
    """The process that this line started, and all that it started."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if process.cmdline() == list(line):
                return [process, *process.children(recursive=True)]
    return []


def is_java(process: psutil.Process) -> bool:
    """Whether a process is a JVM; one that has ended is none."""
    try:
        return "java" in process.name()
    except psutil.Error:
        return False


def summarise(
    seconds: Mapping[str, list[float]], peak_mib: Mapping[str, list[float]], jvm_mib: Mapping[str, list[float]],
    rows: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Median seconds, rows per second, the highest memory, and how many times as long as DuckDB."""
    medians = {name: float(np.median(own)) for name, own in seconds.items()}
    return {
        name: {
            "median_s": round(median, 2), "rows_per_s": round(rows / median), "peak_mib": round(max(peak_mib[name])),
            "jvm_mib": round(max(jvm_mib[name])), "times_duckdb": round(median / medians.get(DUCKDB, np.nan), 2),
        }
        for name, median in medians.items()
    }  # fmt: skip


def exponents(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By contender the slope of log seconds over log rows, fitted through the medians of all sizes it managed."""
    found = {}
    for name in {name: None for run in runs for name in run["results"]}:
        points = [(run["rows"], run["results"][name]["median_s"]) for run in runs if name in run["results"]]
        if len({rows for rows, _ in points}) > 1 and not any(run["log"] for run in runs):
            found[name] = round(float(np.polyfit(*np.log(points).T, 1)[0]), 3)
    return found


def times_even(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By size and contender: seconds of the skewed log per row, over those of the even one."""
    per_row = {
        (run["events"], run["log"], name): row["median_s"] / run["rows"]
        for run in runs for name, row in run["results"].items()
    }  # fmt: skip
    return {
        str(size): {
            name: round(per_row[size, "skewed", name] / per_row[size, "even", name], 3)
            for other, log, name in per_row if (other, log) == (size, "skewed")
        }
        for size in sorted({size for size, _, _ in per_row})
    }  # fmt: skip


def print_table(run: Mapping[str, Any]) -> None:
    """One line per contender."""
    typer.echo(f"{run['log']} {run['rows']:,} rows")
    for name, row in run["results"].items():
        typer.echo(
            f"  {name:<28}{row['median_s']:>9.2f} s{row['rows_per_s']:>12,.0f} rows/s{row['peak_mib']:>8,.0f} MiB"
            f"{row['times_duckdb']:>7.2f}x"
        )


if __name__ == "__main__":
    typer.run(main)
