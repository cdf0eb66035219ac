"""Runs and publications in, runs and publications out: what was done, and which run readers see.

Both are Delta tables like any other; one commit to ``publications`` makes a run visible.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class StepRecord:
    """One row of the runs table."""

    run_id: str
    step: str
    state: str
    run_date: date
    config_hash: str
    config: str
    inputs: str
    versions: str
    row_counts: str
    started_at: datetime
    seconds: float | None
    peak_memory_mib: float | None
    message: str | None


def write_step(lake: Lake, record: StepRecord) -> None:
    """Write a step's row over the row it had in the same run; other steps keep theirs."""
    others = [row for row in read_rows(lake, t.RUNS, where={c.RUN_ID: record.run_id}) if row["step"] != record.step]
    write_rows(lake, t.RUNS, [*others, vars(record)], replace={c.RUN_ID: record.run_id})


def read_steps(lake: Lake, run_id: str | None = None) -> list[StepRecord]:
    """The steps of a run, or of all runs, in the order they started."""
    rows = read_rows(lake, t.RUNS, where={c.RUN_ID: run_id} if run_id else {})
    return [StepRecord(**row) for row in sorted(rows, key=lambda row: row["started_at"])]


def publications(lake: Lake) -> list[dict[str, Any]]:
    """Every publication, oldest first."""
    return sorted(read_rows(lake, t.PUBLICATIONS), key=lambda row: row["published_at"])


def published_run(lake: Lake) -> str | None:
    """The run that readers see, or None before the first publication.

    Raises:
        LakeError: the lake was published by a release whose tables differ.
    """
    rows = publications(lake)
    if not rows:
        return None
    if rows[-1]["lake_version"] != t.LAKE_VERSION:
        raise LakeError(
            f"{lake.path}: published as lake version {rows[-1]['lake_version']}, this release reads version "
            f"{t.LAKE_VERSION}; use the release that made it, or a new lake.path"
        )
    return str(rows[-1][c.RUN_ID])


def publish(lake: Lake, run_id: str, *, kind: str = "publish") -> None:
    """Make a run the one that readers see, by one commit."""
    row = {c.RUN_ID: run_id, "published_at": datetime.now(UTC), "kind": kind, "lake_version": t.LAKE_VERSION}
    write_rows(lake, t.PUBLICATIONS, [row], append=True)


def rollback(lake: Lake, run_id: str | None = None) -> str:
    """Publish an earlier run again: ``run_id``, or the one before the present one. Returns its id.

    Raises:
        LakeError: nothing earlier was published, the run never was, or its rows are gone.
    """
    seen = [str(row[c.RUN_ID]) for row in publications(lake)]
    if not seen:
        raise LakeError(f"{lake.path}: nothing was published yet; run jobs/nightly.py first")
    earlier = [name for name in dict.fromkeys(reversed(seen)) if name != seen[-1]]
    kept = {record.run_id for record in read_steps(lake)}
    wanted = run_id or next((name for name in earlier if name in kept), None)
    if wanted is None:
        raise LakeError(f"{lake.path}: no publication before {seen[-1]} is kept; see `crossrec runs`")
    if wanted not in seen or wanted not in kept:
        state = "was never published" if wanted not in seen else "is no longer kept"
        raise LakeError(f"{lake.path}: run {wanted} {state}; expected one of {', '.join(sorted(kept & set(seen)))}")
    publish(lake, wanted, kind="rollback")
    return wanted


def counts_of(record: StepRecord) -> Mapping[str, int]:
    """The row counts a step noted."""
    counts: dict[str, int] = json.loads(record.row_counts or "{}")
    return counts
