"""A scene in, every contender started, with a way to let it make its lists and one to read them, out (IO)."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import RECTOOLS_LISTS, REPLAY_LISTS
from benchmarks.scoring_suite.als import fit_als, list_by_als, read_events
from benchmarks.scoring_suite.scene import Scene, Shape
from benchmarks.workers import Command, workers
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.spark.storage import read_table
from jobs.serve import make_lists

OWN_WORKER = Path(__file__).resolve().parents[1] / "scoring_worker.py"
USER, ITEM = "user", "item"


class Name(StrEnum):
    """What a contender is called on the command line."""

    JOB = "job"
    KERNEL = "kernel"
    ALS = "als"
    REPLAY = "replay"
    RECTOOLS = "rectools"


TITLES = {
    Name.JOB: "crossrec, lake to lake",
    Name.KERNEL: "crossrec, no Spark",
    Name.ALS: "Spark ALS",
    Name.REPLAY: "RePlay SasRec, Spark frame",
    Name.RECTOOLS: "RecTools SASRec",
}


@dataclass(frozen=True)
class Contender:
    """Someone who makes lists; ``read`` gives the last ones and what users know, both with USER and ITEM."""

    solve: Callable[[], object]
    read: Callable[[], tuple[DataFrame, DataFrame]] | None  # None: a worker that checks its lists itself


def start(
    name: Name, scene: Scene, folder: Path, stack: ExitStack, *, n: int, shape: Shape, environments: Path
) -> Contender:
    """Everything that is done once: a model fitted or made, a session or a worker started, an environment made."""
    cores = len(os.sched_getaffinity(0))
    if name is Name.JOB:
        return Contender(
            lambda: make_lists(scene.settings, scene.night, scene.spark, scene.models), lambda: _of_lake(scene)
        )
    if name is Name.KERNEL:
        ours = [Command(Path(sys.executable), OWN_WORKER, (part, cores)) for part in range(cores)]
        return Contender(stack.enter_context(workers(ours, folder, n)), None)
    if name is Name.ALS:
        als = fit_als(scene, shape.width)
        return Contender(lambda: list_by_als(scene, als, n, folder / "als"), lambda: _of_als(scene, folder / "als"))
    numbers = (cores, shape.width, shape.layers, shape.heads, shape.history)
    package, lists = (
        (REPLAY_LISTS, folder / "replay") if name is Name.REPLAY else (RECTOOLS_LISTS, folder / "rectools.parquet")
    )
    python = peer_python(package.name, package.requirements, environments)
    command = Command(python, package.worker, (*numbers, memory_gib(scene)) if name is Name.REPLAY else numbers)
    solve = stack.enter_context(workers([command], folder, n))
    return Contender(solve, lambda: _of_peer(scene, lists, folder))


def memory_gib(scene: Scene) -> int:
    """The heap that our own Spark has, for a peer's."""
    return int(scene.settings.spark.driver_memory.removesuffix("g"))


def _of_lake(scene: Scene) -> tuple[DataFrame, DataFrame]:
    where = {c.PURPOSE: c.SERVE}
    lists = read_table(scene.spark, scene.night.lake, t.RECOMMENDATIONS, run_id=scene.night.run_id, where=where)
    known = read_table(scene.spark, scene.night.lake, t.INTERACTIONS, run_id=scene.night.run_id)
    found = lists.where(F.col(c.USER_ID) != c.NEW_USER_ID)
    return _pairs(found, c.USER_ID, c.ITEM_ID), _pairs(known, c.USER_ID, c.ITEM_ID)


def _of_als(scene: Scene, lists: Path) -> tuple[DataFrame, DataFrame]:
    found = scene.spark.read.parquet(str(lists))
    return _pairs(found, c.USER_NUM, c.ITEM_NUM), _pairs(read_events(scene), c.USER_NUM, c.ITEM_NUM)


def _of_peer(scene: Scene, lists: Path, folder: Path) -> tuple[DataFrame, DataFrame]:
    found, known = (scene.spark.read.parquet(str(path)) for path in (lists, folder / "interactions.parquet"))
    return _pairs(found, "user_id", "item_id"), _pairs(known, "user_id", "item_id")


def _pairs(rows: DataFrame, user: str, item: str) -> DataFrame:
    return rows.select(F.col(user).alias(USER), F.col(item).alias(ITEM))
