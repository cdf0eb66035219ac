"""Raw files in, learning curves of all heads over support sizes out: one night up to its pretrained model.

python benchmarks/fewshot_in_time.py
"""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.fewshot_suite.in_time import judge_heads
from benchmarks.fewshot_suite.report import of_size, relative
from benchmarks.quality import check_data, convert, files_of
from benchmarks.quality_suites.finished import Places
from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.nights import part_settings, run_shared, say
from benchmarks.quality_suites.origin import hashes
from benchmarks.quality_suites.page import ABOUT, update_page
from benchmarks.quality_suites.suite import Suite, read_suite
from benchmarks.report import describe_machine
from crossrec_core import columns as c
from crossrec_core.cli.one_line import one_line_errors
from jobs.ground import read_ground
from jobs.steps import SetOption, TracebackOption, describe_versions, parse_overrides, spark_session, start_night

NIGHT_STEPS = ("clean", "prepare", "embed_text", "pretrain")
SUITE = Path(__file__).resolve().parent / "fewshot_suite" / "fewshot_in_time_ml_1m.toml"


def main(
    suite: Annotated[Path, typer.Option(help="A suite whose segments are support sizes.")] = SUITE,
    seeds: Annotated[int, typer.Option(help="How many of the suite's seeds, of the heads; 0 for all.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the raw files.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder of the lake.")] = Path(".cache/quality"),
    page: Annotated[Path, typer.Option(help="The page whose tables are made again.")] = Path("docs/results.md"),
    samples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap.")] = 10_000,
    set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
    traceback: TracebackOption = False,
) -> None:
    """Run clean, prepare, embed_text and pretrain once, then train and judge the heads with each seed.

    Started again it goes on after the last step that finished with the same settings.
    """
    with one_line_errors(traceback):
        chosen, places = read_suite(suite), Places(data, work, out)
        check_data(chosen, data)
        convert(chosen, places)
        started = time.perf_counter()
        used = chosen.seeds[: seeds or None]
        values = judge_night(chosen, used, places, parse_overrides(list(set_)))
        rows, comparisons = measure(
            values, chosen, samples=samples, seconds=round(time.perf_counter() - started, 1), select=of_size
        )
        command = shlex.join(
            ["python", "benchmarks/fewshot_in_time.py", *(["--seeds", str(seeds)] if seeds else []),
             *(word for pair in set_ for word in ("--set", pair))]
        )  # fmt: skip
        about = describe(chosen, used, suite, command, samples) | {
            "comparisons": comparisons, "sha256": hashes(files_of(chosen, places)),
        }  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        for name, content in ((f"{chosen.name}.json", rows), (f"{chosen.name}{ABOUT}", about)):
            (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        update_page(page, out)
        print(f"written: {out / chosen.name}.json, {out / chosen.name}{ABOUT}, {page}", flush=True)


def judge_night(suite: Suite, seeds: Sequence[int], places: Places, overrides: dict[str, Any]) -> pd.DataFrame:
    """The judging users' values, of all seeds."""
    settings = part_settings(suite, suite.parts[0], "", seeds[0], places, overrides)
    night = start_night(settings, run_id=suite.name)
    sizes = sorted(int(segment.removeprefix("k=")) for segment in suite.segments)
    with spark_session(settings) as spark:
        for step in NIGHT_STEPS:
            run_shared(step, settings, night, spark)
        ground = read_ground(settings, night, spark, c.VALIDATE)
        frames = []
        for seed in seeds:
            say(night, f"heads, seed {seed} ...")
            frames.append(judge_heads(settings, ground, sizes=sizes, seed=seed))
    return pd.concat(frames, ignore_index=True)


def describe(suite: Suite, seeds: Sequence[int], file: Path, command: str, samples: int) -> dict[str, Any]:
    """What the rows were made with."""
    machine, day = describe_machine(), datetime.now(UTC).date().isoformat()
    notes = [
        f"One pretrained model; heads with seeds {', '.join(map(str, seeds))}, a user's measure is the mean over them.",
        f"`{command}`; {machine['cpu']}, {day}; versions and sha256: benchmarks/results/{suite.name}{ABOUT}.",
    ]
    return {
        "suite": suite.name, "file": relative(file), "command": command, "day": day, "machine": machine,
        "versions": describe_versions(), "seeds": list(seeds), "bootstrap_samples": samples, "across_segments": True,
        "run_notes": notes,
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
