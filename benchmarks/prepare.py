"""A raw log in, seconds and memory of cleaning and preparing it by this project and others out, as JSON.

All make the same tables from the same Parquet files: events kept, rejects with reasons, dense numbers, splits, and each
user's latest events for three purposes. What they made is compared row by row before and after the clock runs.

python benchmarks/prepare.py                                                    # a made-up log of 300,000 events
python benchmarks/prepare.py --data ../shared/data/kuairand/events.parquet --events 4080800 --events 16000000 \
    --events 64000000 --driver-gib 6                                            # the real one, and larger ones drawn
python benchmarks/prepare.py --no-peers --skew --events 4000000                 # an even log and a skewed one
"""

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.feed import describe_machine
from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import PANDAS, POLARS, REPLAY, WORKERS, Package
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
from benchmarks.topn_kernel import Command, workers
from crossrec_core.errors import CrossRecError
from jobs.memory import MemoryMeter

OUR_WORKER = Path(__file__).resolve().with_name("prepare_worker.py")
SHARED, WHOLE, DUCKDB = "crossrec, the shared tables", "crossrec, all tables", "DuckDB"
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


@dataclass(frozen=True)
class Run:
    """One timed run."""

    seconds: float
    peak_mib: float  # the worker and all it started
    jvm_mib: float


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/prepare.json"),
    events: Annotated[list[int], typer.Option(min=1000, help="of the logs; one or several")] = [300_000],  # noqa: B006
    data: Annotated[str, typer.Option(help="Parquet of window, position, domain, item; '' for a made-up log")] = "",
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    large_repetitions: Annotated[int, typer.Option(min=1, help="the same above 20 million events")] = 2,
    max_len: Annotated[int, typer.Option(min=1, help="events of a sequence")] = 50,
    cores: Annotated[int, typer.Option(min=1, help="threads of each")] = 2,
    driver_gib: Annotated[int, typer.Option(min=1, help="of Spark, the others' too")] = 4,
    skew: Annotated[bool, typer.Option(help="time ours on an even and a skewed log, made up, and nothing else")] = False,
    peers: Annotated[bool, typer.Option(help="time other packages too, in environments that are made once")] = True,
    environments: Annotated[Path, typer.Option(help="where these lie")] = Path(".cache/peers"),
    work: Annotated[Path | None, typer.Option(help="folder for logs and results; default: a temporary one")] = None,
) -> None:
    """Compare what all contenders make, time them in turns at every size, and print medians."""
    runs = []
    for size in sorted(events):
        logs = {"": read_histories(Path(data)) if data else made_histories(events=size, seed=SEED)}
        if skew:
            logs = {name: made_histories(events=size, seed=SEED, is_skewed=name == "skewed") for name in ("even", "skewed")}
        for name, histories in logs.items():
            with tempfile.TemporaryDirectory(dir=work) as folder:
                contenders = make_contenders(
                    histories, max_len=max_len, cores=cores, driver_gib=driver_gib,
                    environments=environments if peers and not skew else None,
                )  # fmt: skip
                times = large_repetitions if size > LARGE_EVENTS else repetitions
                runs.append(
                    {"log": name, "events": size, "repetitions": times}
                    | time_contenders(contenders, histories, Path(folder), events=size, max_len=max_len, repetitions=times)
                )
            print_table(runs[-1])
    report = {
        "machine": describe_machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("pyspark", "duckdb")},
                     **{package.name: package.requirements[0] for package in (POLARS, PANDAS, REPLAY) if peers}},
        "settings": {"data": Path(data).name, "max_len": max_len, "cores": cores, "driver_gib": driver_gib},
        "runs": runs,
        "exponents": exponents(runs),
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"written to {out}")
