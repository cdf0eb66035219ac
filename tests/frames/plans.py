"""A frame in, an AssertionError out if its physical plan would not scale."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame

from crossrec_core.frames.spark import storage

JOINS_WITHOUT_KEYS = ("CartesianProductExec", "BroadcastNestedLoopJoinExec")
COLLECTED = "collected"
WINDOWS = ("WindowExec", "WindowGroupLimitExec")


def check_plan(frame: DataFrame) -> None:
    """Check that no window holds all rows in one partition and no join compares all rows with all rows.

    A window is judged by its own partition keys: Spark has dropped constant ones by then, and a window without keys
    shows no exchange where its input is one partition already. Cached frames and subqueries are looked into.
    """
    plan = frame._jdf.queryExecution().executedPlan()
    for node in nodes(plan):
        name = node.getClass().getSimpleName()
        assert name not in JOINS_WITHOUT_KEYS, f"{name} in the plan:\n{plan.toString()}"
        if name in WINDOWS:
            assert not node.partitionSpec().isEmpty(), f"a window over a single partition in:\n{plan.toString()}"


@contextmanager
def checked_plans() -> Iterator[list[str]]:
    """Check the plan of every frame that is written to a table or collected; yields the names of tables written."""
    written: list[str] = []

    def look(frame: DataFrame, table: str) -> None:
        check_plan(frame)
        written.extend([table] * (table != COLLECTED))

    with shown_frames(look):
        yield written


@contextmanager
def counted_shuffles(spark: SparkSession) -> Iterator[Counter[str]]:
    """Count the shuffles that Spark makes for every table that is written, and for all that is collected together.

    A plan shows more than are made: what it holds twice is made once, and what is cached only by the first to read it.
    So Spark's own numbers of shuffles are read, from one frame to the next. No frame may send its rows through Python.
    """
    counts: Counter[str] = Counter()
    next_shuffle = spark.sparkContext._jsc.sc().newShuffleId  # type: ignore[union-attr]
    current, first = COLLECTED, next_shuffle()

    def count_until_now() -> None:
        nonlocal first
        last, first = first, next_shuffle()
        counts[current] += first - last - 1

    def look(frame: DataFrame, table: str) -> None:
        nonlocal current
        plan = frame._jdf.queryExecution().executedPlan()
        in_python = [name for name in (node.getClass().getSimpleName() for node in nodes(plan)) if "Python" in name]
        assert not in_python, f"{table}: Python in the row path:\n{plan.toString()}"
        count_until_now()
        current = table

    with shown_frames(look):
        yield counts
    count_until_now()


@contextmanager
def shown_frames(look: Callable[[DataFrame, str], None]) -> Iterator[None]:
    """Show every frame that is written, with the table's name, or collected, before it is."""
    plain_conform, plain_collect = storage.conform, ClassicDataFrame.collect

    def conform(frame, table):  # type: ignore[no-untyped-def]
        look(frame, table.name)
        return plain_conform(frame, table)

    def collect(frame):  # type: ignore[no-untyped-def]
        look(frame, COLLECTED)
        return plain_collect(frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "conform", conform)
        patch.setattr(ClassicDataFrame, "collect", collect)
        yield


def nodes(node: Any) -> Iterator[Any]:
    """The node of a physical plan and all below it, through adaptive stages, caches and subqueries."""
    yield node
    name = node.getClass().getSimpleName()
    below = _items(node.children()) + _items(node.subqueries())
    if name == "AdaptiveSparkPlanExec":
        below.append(node.executedPlan())
    elif name.endswith("QueryStageExec"):
        below.append(node.plan())
    elif name == "InMemoryTableScanExec":
        below.append(node.relation().cachedPlan())
    elif name.startswith("Reused"):
        below.append(node.child())
    for child in below:
        yield from nodes(child)


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(position) for position in range(sequence.size())]
