"""A frame in, an AssertionError out if its physical plan would not scale."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame

from crossrec_core.frames import storage

JOINS_WITHOUT_KEYS = ("CartesianProductExec", "BroadcastNestedLoopJoinExec")
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
    plain_conform, plain_collect = storage.conform, ClassicDataFrame.collect

    def conform(frame, table):  # type: ignore[no-untyped-def]
        check_plan(frame)
        written.append(table.name)
        return plain_conform(frame, table)

    def collect(frame):  # type: ignore[no-untyped-def]
        check_plan(frame)
        return plain_collect(frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "conform", conform)
        patch.setattr(ClassicDataFrame, "collect", collect)
        yield written


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
