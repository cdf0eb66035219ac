"""A frame in, an AssertionError out if its physical plan would not scale."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame

from crossrec_core.frames import storage

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
def counted_shuffles() -> Iterator[Counter[str]]:
    """Count the shuffles of every frame that is written, by its table, and of all that are collected together.

    A cached frame counts once, where it is read first; an exchange that Spark uses again counts once.
    """
    counts: Counter[str] = Counter()
    cached: set[int] = set()

    def look(frame: DataFrame, table: str) -> None:
        identity = frame.sparkSession._jvm.java.lang.System.identityHashCode

        def is_new(node: Any) -> bool:
            name = node.getClass().getSimpleName()
            if name != "InMemoryTableScanExec":
                return not name.startswith("Reused")
            found = identity(node.relation().cacheBuilder())
            is_first = found not in cached
            cached.add(found)
            return is_first

        plan = frame._jdf.queryExecution().executedPlan()
        names = [node.getClass().getSimpleName() for node in nodes(plan, enter=is_new)]
        assert not [name for name in names if "Python" in name], f"{table}: Python in the row path:\n{plan.toString()}"
        counts[table] += names.count("ShuffleExchangeExec")

    with shown_frames(look):
        yield counts


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


def nodes(node: Any, enter: Callable[[Any], bool] = lambda node: True) -> Iterator[Any]:
    """The node of a physical plan and all below it, through adaptive stages, caches and subqueries.

    What lies below a node that ``enter`` refuses is left out.
    """
    yield node
    if not enter(node):
        return
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
        yield from nodes(child, enter)


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(position) for position in range(sequence.size())]
