"""Made-up lists and held-out items in, seconds of ranking metrics by this project and others out, as JSON.

Six metrics at four lengths. Timed: from the same Parquet files to the means over all users, in hand; sessions,
interpreters and imports are there before. Everyone's means are held against this project's before any time is taken.
This project also measures five kinds of held-out item apart, and reads ids as text, as its lake has them; the others
read the integers beside them.

python benchmarks/metrics.py                                             # 138,000 users, lists of 100, everyone
python benchmarks/metrics.py --users 20000 --skip "RePlay on Spark"      # without the slowest
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.made_lists import DOMAIN, MODEL, write_files
from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import RANX, RECTOOLS_METRICS, REPLAY_ON_POLARS, REPLAY_ON_SPARK
from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from benchmarks.workers import Command, workers
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.errors import CrossRecError
from crossrec_core.frames.evaluation.intervals import SUMS, means, to_bucket_sums
from crossrec_core.frames.evaluation.metrics import ranking_measures, to_user_values
from crossrec_core.frames.spark.contracts import spark_schema
from crossrec_core.frames.spark.session import hashed_joins
from crossrec_core.settings import Settings
from jobs.evaluate import rank_intervals
from jobs.steps import spark_session

OURS, WITH_INTERVALS = "crossrec", "crossrec, with intervals"
REPLAY_SPARK, REPLAY_POLARS, BY_RECTOOLS, BY_RANX = "RePlay on Spark", "RePlay on Polars", "RecTools", "ranx"
PEERS = {
    REPLAY_SPARK: REPLAY_ON_SPARK,
    REPLAY_POLARS: REPLAY_ON_POLARS,
    BY_RECTOOLS: RECTOOLS_METRICS,
    BY_RANX: RANX,
}
# Their MAP is divided by all held-out items, RePlay's and this project's by no more of them than the list has places
DIVIDE_BY_ALL = (BY_RECTOOLS, BY_RANX)
TOLERANCE = 1e-9
Values = dict[str, float]


@dataclass(frozen=True)
class Scene:
    """What this project measures with: Spark, and the folder of ``write_files``."""

    settings: Settings
    spark: SparkSession
    folder: Path


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/metrics.json"),
    users: Annotated[int, typer.Option(min=100, help="all have a list and held-out items")] = 138_000,
    items: Annotated[int, typer.Option(min=100, help="of the catalogue; few are in most lists")] = 20_000,
    length: Annotated[int, typer.Option(min=1, help="of the lists")] = 100,
    held_out: Annotated[int, typer.Option(min=1, help="items per user, on average")] = 10,
    n: Annotated[list[int], typer.Option(min=1, help="lengths that are measured")] = [1, 5, 10, 100],  # noqa: B006
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    skip: Annotated[list[str], typer.Option(help=f"leave out one of {', '.join(PEERS)}")] = [],  # noqa: B006
    environments: Annotated[Path, typer.Option(help="where those of other packages lie")] = Path(".cache/peers"),
    driver_memory_gib: Annotated[int, typer.Option(min=1, help="of every Spark")] = 6,
) -> None:
    """Compare everyone's means, time all contenders in turns, and print medians."""
    peers = keep_peers(skip)
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        most_held_out = write_files(folder, users=users, items=items, length=length, held_out=held_out)
        contenders: dict[str, Callable[[], Values]] = {}
        for name in peers:
            python = peer_python(PEERS[name].name, PEERS[name].requirements, environments)
            command = Command(python, PEERS[name].worker, (cores, driver_memory_gib, *n))
            solve = stack.enter_context(workers([command], folder, length))
            contenders[name] = partial(solved, solve, folder / PEERS[name].worker.name)
        settings = measure_settings(n=n, length=length, driver_memory_gib=driver_memory_gib)
        scene = Scene(settings, stack.enter_context(spark_session(settings)), folder)
        contenders = {
            OURS: lambda: measure(scene), WITH_INTERVALS: lambda: measure_with_intervals(scene), **contenders
        }  # fmt: skip
        stack.enter_context(hashed_joins(scene.spark))  # as evaluate has it
        values = {name: contender() for name, contender in contenders.items()}
        check_values(values, most_held_out=most_held_out)
        seconds = time_in_turns(contenders, repetitions=repetitions)
    results = summarise(seconds)
    for name, row in results.items():
        typer.echo(f"{name:<26}{row['median_s']:>9.2f} s{row['times_ours']:>8.2f}x")
    write_report(
        out,
        packages=["pyspark", "pyarrow", "pandas", "numpy"],
        peers=[PEERS[name] for name in peers],
        settings={"users": users, "items": items, "length": length, "held_out": held_out, "n": n, "cores": cores,
                  "driver_memory_gib": driver_memory_gib, "repetitions": repetitions},
        values=values,
        seconds=seconds,
        results=results,
    )  # fmt: skip


def keep_peers(skip: Sequence[str]) -> list[str]:
    """The peers that are not left out.

    Raises:
        CrossRecError: a name that is no peer.
    """
    if unknown := sorted(set(skip) - set(PEERS)):
        raise CrossRecError(f"--skip: unknown {', '.join(unknown)}; expected some of {', '.join(PEERS)}")
    return [name for name in PEERS if name not in skip]


def solved(solve: Callable[[], None], script: Path) -> Values:
    """Let a worker measure, and read what it wrote: a few numbers."""
    solve()
    values: Values = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    return values


def measure_settings(*, n: list[int], length: int, driver_memory_gib: int) -> Settings:
    """The defaults, but for the lengths."""
    return read_config(DEFAULTS, overrides={
        "spark": {"driver_memory": f"{driver_memory_gib}g"},
        "domains": {DOMAIN: {"path": "made"}},
        "score": {"n": length},
        "evaluate": {"n": n, "guard_n": n[-1]},
    })  # fmt: skip


def read_files(scene: Scene, table: t.Table) -> DataFrame:
    """A table of ``write_files``, as evaluate gets it from a lake."""
    root = str(scene.folder / table.name)
    return scene.spark.read.schema(spark_schema(table)).option("basePath", root).parquet(root)


def to_values(scene: Scene) -> DataFrame:
    """The table per user: all measures, for five kinds of held-out item."""
    lists, truth = read_files(scene, t.RECOMMENDATIONS), read_files(scene, t.TRUTH)
    return to_user_values(lists, truth, lists=scene.settings.evaluate.n)


def measure(scene: Scene) -> Values:
    """Means over all users, without intervals: all users in one bucket."""
    measures = ranking_measures(scene.settings.evaluate.n)
    sums = to_bucket_sums(to_values(scene), num_measures=len(measures), num_buckets=1, seed=0)
    row = sums.where(F.col(c.SEGMENT) == c.ALL).groupBy().agg(*[
        F.sum(F.col(SUMS)[at]) for at in range(len(measures) + 1)
    ]).collect()[0]  # fmt: skip
    found = means(np.array(row, dtype=np.float64), np.array([]))
    return {f"{metric}@{n}": float(value) for (metric, n), value in zip(measures, found, strict=True)}


def measure_with_intervals(scene: Scene) -> Values:
    """As evaluate does it: the table per user is kept on disk, users are resampled by bucket, in every segment."""
    user_values = to_values(scene).persist(StorageLevel.DISK_ONLY)
    rows = rank_intervals(user_values, scene.settings.evaluate, [MODEL]).collect()
    user_values.unpersist()
    return {f"{row[c.METRIC]}@{row[c.N]}": row["value"] for row in rows if row[c.SEGMENT] == c.ALL}


def check_values(values: Mapping[str, Values], *, most_held_out: int) -> None:
    """Raises CrossRecError where a contender's mean is not this project's, though both define it alike."""
    for name, own in values.items():
        for measure_name, expected in values[OURS].items():
            metric, n = measure_name.split("@")
            if metric == "map" and name in DIVIDE_BY_ALL and int(n) < most_held_out:
                continue
            if not abs(own[measure_name] - expected) <= TOLERANCE:
                raise CrossRecError(f"{name}: {measure_name}: {own[measure_name]}; {OURS} has {expected}")


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median seconds, and how many times as long as this project without intervals."""
    medians = {name: float(np.median(own)) for name, own in seconds.items()}
    return {
        name: {"median_s": round(median, 3), "times_ours": round(median / medians[OURS], 2)}
        for name, median in medians.items()
    }


if __name__ == "__main__":
    typer.run(main)
