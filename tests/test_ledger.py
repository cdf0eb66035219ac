"""What was done, and which run readers see."""

from datetime import UTC, date, datetime

import pytest

from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake
from crossrec_core.ledger import (
    DONE,
    RUNNING,
    StepRecord,
    publications,
    publish,
    published_run,
    read_steps,
    rollback,
    write_step,
)


def record(run_id: str, step: str, state: str = DONE, minute: int = 0) -> StepRecord:
    started = datetime(2026, 1, 1, 2, minute, tzinfo=UTC)
    return StepRecord(run_id, step, state, date(2026, 1, 1), "h", "{}", "{}", "{}", "{}", started, 1.0, 2.0, None)


def test_a_step_has_one_row_that_is_rewritten(lake: Lake) -> None:
    write_step(lake, record("one", "clean", RUNNING))
    write_step(lake, record("one", "prepare", RUNNING, minute=1))
    write_step(lake, record("one", "clean", DONE))
    assert [(step.step, step.state) for step in read_steps(lake, "one")] == [("clean", DONE), ("prepare", RUNNING)]


def test_steps_come_back_as_they_were(lake: Lake) -> None:
    write_step(lake, record("one", "clean"))
    assert read_steps(lake) == [record("one", "clean")]


def test_readers_see_the_latest_publication(lake: Lake) -> None:
    assert published_run(lake) is None
    publish(lake, "one")
    publish(lake, "two")
    assert published_run(lake) == "two"


def test_rollback_publishes_the_run_before(lake: Lake) -> None:
    for run_id in ("one", "two"):
        write_step(lake, record(run_id, "clean"))
        publish(lake, run_id)
    assert rollback(lake) == "one"
    assert published_run(lake) == "one"
    assert [row["kind"] for row in publications(lake)] == ["publish", "publish", "rollback"]


def test_rollback_refuses_runs_that_are_gone_or_unknown(lake: Lake) -> None:
    with pytest.raises(LakeError, match="nothing was published"):
        rollback(lake)
    publish(lake, "gone")
    write_step(lake, record("two", "clean"))
    publish(lake, "two")
    with pytest.raises(LakeError, match="no publication before two is kept"):
        rollback(lake)
    with pytest.raises(LakeError, match="run gone is no longer kept"):
        rollback(lake, "gone")
    with pytest.raises(LakeError, match="run never was never published"):
        rollback(lake, "never")


def test_a_lake_of_another_version_is_refused(lake: Lake) -> None:
    row = {"run_id": "one", "published_at": datetime.now(UTC), "kind": "publish", "lake_version": t.LAKE_VERSION + 1}
    write_rows(lake, t.PUBLICATIONS, [row], append=True)
    with pytest.raises(LakeError, match="published as lake version 2, this release reads version 1"):
        published_run(lake)
