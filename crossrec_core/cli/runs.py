"""A lake in, one row per run out: its date, state, time, memory and whether readers see it."""

from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import Answer, check_lake
from crossrec_core.ledger import DONE, FAILED, RUNNING, StepRecord, publications, read_steps

COLUMNS = ("run_id", "run_date", "state", "steps", "seconds", "peak_memory_mib", "published", "message")


def runs_of(lake: Lake) -> Answer:
    """Every run the lake keeps, oldest first; published is now, before or empty.

    Raises:
        LakeError: no lake there, or no run in it.
    """
    check_lake(lake)
    steps: dict[str, list[StepRecord]] = {}
    for step in read_steps(lake):
        steps.setdefault(step.run_id, []).append(step)
    if not steps:
        raise LakeError(f"{lake.path}: no runs yet; run jobs/nightly.py")
    published = [row["run_id"] for row in publications(lake)]
    return Answer(COLUMNS, [_row(run_id, found, published) for run_id, found in steps.items()])


def _row(run_id: str, steps: list[StepRecord], published: list[str]) -> tuple[object, ...]:
    states = [step.state for step in steps]
    state = next((name for name in (FAILED, RUNNING) if name in states), DONE)
    when = "now" if published and published[-1] == run_id else "before" if run_id in published else ""
    return (
        run_id,
        steps[0].run_date,
        state,
        sum(name == DONE for name in states),
        round(sum(step.seconds or 0.0 for step in steps), 1),
        round(max((step.peak_memory_mib or 0.0 for step in steps), default=0.0)),
        when,
        next((step.message for step in steps if step.message), None),
    )
