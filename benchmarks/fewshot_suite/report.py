"""Finished splits in, a suite's result files out: rows, comparisons, and what they were made with (IO)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.fewshot_suite.one_split import Found, SplitPlan, run_split
from benchmarks.fewshot_suite.ratings import Ratings
from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.origin import sha256
from benchmarks.quality_suites.page import ABOUT, ROOT
from benchmarks.quality_suites.suite import Suite
from benchmarks.report import describe_machine
from crossrec_core import columns as c
from jobs.steps import describe_versions


def run_or_read(ratings: Ratings, domain: str, number: int, plan: SplitPlan, work: Path) -> Found:
    """A split's measures; those of an earlier start with the same plan and the same code are read, not made again."""
    file = work / f"{domain}-{number:02d}.parquet"
    about, made_with = (
        file.with_suffix(".json"),
        {"plan": to_plain(plan), "users": len(ratings.user_ids), "code": hash_code()},
    )
    if about.exists():
        known = json.loads(about.read_text(encoding="utf-8"))
        if known["made_with"] == made_with:
            return Found(pd.read_parquet(file), known["chosen"])
    found = run_split(ratings, domain, number, plan)
    work.mkdir(parents=True, exist_ok=True)
    found.values.to_parquet(file, index=False)
    about.write_text(json.dumps({"made_with": made_with, "chosen": found.chosen}), encoding="utf-8")
    return found


def write_results(
    suite: Suite, splits: Sequence[Found], plan: SplitPlan, *, out: Path, file: Path, command: str, samples: int,
    data: Sequence[Path],
) -> None:  # fmt: skip
    """Write SUITE.json and SUITE.about.json."""
    values = pd.concat([each.values for each in splits], ignore_index=True)
    seconds = round(sum(each.chosen["seconds"] for each in splits), 1)
    rows, comparisons = measure(values, suite, samples=samples, seconds=seconds, select=of_size)
    rows = [row | {"seeds": len(splits)} for row in rows]  # a split is a cut with a seed of its own
    about = {
        "suite": suite.name, "file": relative(file), "command": command, "day": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(), "versions": describe_versions(), "bootstrap_samples": samples,
        "sha256": {each.name: sha256(each) for each in data}, "plan": to_plain(plan),
        "across_segments": True, "run_notes": run_notes(suite, splits, seconds, command),
        "splits": [each.chosen for each in splits], "comparisons": comparisons,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{suite.name}.json", rows), (f"{suite.name}{ABOUT}", about)):
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def of_size(values: pd.DataFrame, segment: str) -> pd.DataFrame:
    """The rows of one support size."""
    return values[values[c.SEGMENT] == segment]


def run_notes(suite: Suite, splits: Sequence[Found], seconds: float, command: str) -> list[str]:
    """What the page says about the run."""
    machine = describe_machine()
    return [
        f"{len(splits)} random splits; a user who is tested in several of them is drawn with all of them, so that "
        "intervals are over users; in brackets, how many users.",
        f"{seconds / 60:.0f} minutes for all splits on one thread; {machine['cpu']}, {machine['memory_gib']} GiB; "
        f"{datetime.now(UTC).date().isoformat()}.",
        f"`{command}`; what each split chose, versions and sha256: benchmarks/results/{suite.name}{ABOUT}.",
    ]


def to_plain(plan: SplitPlan) -> dict[str, Any]:
    """The plan as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return plain


def hash_code() -> str:
    """The hash of this suite's modules: a split that other code made is made again."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def relative(path: Path) -> str:
    """The path from the repository's root, or as it is where it lies elsewhere."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
