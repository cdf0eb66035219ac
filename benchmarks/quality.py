"""Raw files in, a suite's table out: the product's own nights, at least three seeds, intervals over users.

python benchmarks/quality.py --suite beauty_sports_toys
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.feed import describe_machine
from benchmarks.quality_suites.cells import in_segment
from benchmarks.quality_suites.converters import CONVERTERS
from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.nights import Finished, Places, read_values, run_part, suite_folder
from benchmarks.quality_suites.page import ABOUT, ROOT, update_page
from benchmarks.quality_suites.suite import Suite, read_suite, suite_file
from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.errors import InputError
from jobs.steps import SetOption, TracebackOption, parse_overrides


@dataclass(frozen=True)
class Options:
    """What of the command line shapes the results."""

    seeds: int
    cuts: int
    overrides: tuple[str, ...]
    samples: int


def main(
    suite: Annotated[str, typer.Option(help="Name of a file in conf/suites, or the path of another.")],
    seeds: Annotated[int, typer.Option(help="How many of the suite's seeds; 0 for all.")] = 0,
    cuts: Annotated[int, typer.Option(help="How many of the suite's cuts, the earliest first; 0 for all.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the raw files.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder of lakes and finished seeds.")] = Path(".cache/quality"),
    page: Annotated[Path, typer.Option(help="The page whose tables are made again.")] = Path("docs/results.md"),
    samples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap.")] = 10_000,
    keep_lakes: Annotated[bool, typer.Option(help="Keep the lake of every finished cut.")] = False,
    set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
    traceback: TracebackOption = False,
) -> None:
    """Run a suite from raw files to benchmarks/results/SUITE.json and docs/results.md.

    Killed and started again it goes on: a finished seed of a cut with the same settings is not run again.
    """
    with one_line_errors(traceback):
        chosen, options, places = (
            read_suite(suite_file(suite)),
            Options(seeds, cuts, tuple(set_), samples),
            Places(data, work),
        )
        check_data(chosen, data)
        convert(chosen, places)
        finished = run_all(chosen, options, places, keep_lakes=keep_lakes)
        write_results(chosen, finished, options, places, out=out, file=suite_file(suite))
        update_page(page, out)
        print(f"written: {out / chosen.name}.json, {out / chosen.name}{ABOUT}, {page}", flush=True)


def check_data(suite: Suite, data: Path) -> None:
    """Check that the raw files are there.

    Raises:
        InputError: the first that is not.
    """
    for name in suite.data:
        if not (data / name).is_file():
            raise InputError(f"{data / name}: no such file; name the folder of the raw files with --data")


def convert(suite: Suite, places: Places) -> None:
    """Make the product's input of raw files that it cannot read; done once per work folder."""
    folder = suite_folder(suite, places)
    done = folder / "converted"
    if suite.converter and not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        CONVERTERS[suite.converter](places.data, folder)
        done.touch()


def run_all(suite: Suite, options: Options, places: Places, *, keep_lakes: bool) -> list[Finished]:
    """Every part, cut and seed, in order."""
    seeds, cuts = chosen_seeds_and_cuts(suite, options)
    overrides = parse_overrides(list(options.overrides))
    nights = [(part, cut) for part in suite.parts for cut in cuts]
    finished = []
    for number, (part, cut) in enumerate(nights, 1):
        print(f"[{number}/{len(nights)}] {suite.name}, {part.name}, {cut or 'one split'}", flush=True)
        finished += run_part(suite, part, cut, seeds=seeds, places=places, overrides=overrides, keep_lake=keep_lakes)
    return finished


def chosen_seeds_and_cuts(suite: Suite, options: Options) -> tuple[list[int], list[str]]:
    """The first seeds and the earliest cuts, as many as asked for."""
    return suite.seeds[: options.seeds or None], sorted(suite.cuts)[: options.cuts or None]


def write_results(
    suite: Suite, finished: Sequence[Finished], options: Options, places: Places, *, out: Path, file: Path
) -> None:
    """Write SUITE.json, a list of rows, and SUITE.about.json: comparisons, and what the rows were made with."""
    seeds, cuts = chosen_seeds_and_cuts(suite, options)
    values = read_values(finished, suite)
    seconds = round(sum(sum(each.about["seconds"].values()) for each in finished) / len(seeds), 1)
    rows, comparisons = measure(values, suite, samples=options.samples, seconds=seconds)
    nights = [
        {"part": each.part.name, "cut": each.cut, "seed": each.seed, "settings_hash": each.about["settings_hash"],
         "guard": each.about["decisions"], "seconds": each.about["seconds"]} for each in finished
    ]  # fmt: skip
    about = {
        "suite": suite.name, "file": relative(file), "command": command(suite, options),
        "day": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(), "versions": finished[0].about["versions"], "seeds": seeds, "cuts": cuts,
        "bootstrap_samples": options.samples, "seconds_per_seed": seconds, "sha256": hashes(suite, places),
        "nights": nights, "comparisons": comparisons, "value_by_seed": by_seed(values, suite),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{suite.name}.json", rows), (f"{suite.name}{ABOUT}", about)):
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def by_seed(values: pd.DataFrame, suite: Suite) -> list[dict[str, Any]]:
    """The first metric over all users for each seed: how much the training alone moves it."""
    metric, n = suite.measures[0]
    own = in_segment(values[(values["metric"] == metric) & (values["n"] == n)], "all")
    means = own.groupby(["table", "domain", "model", "seed"])["value"].mean().reset_index()
    return [{str(name): value for name, value in row.items()} for row in means.to_dict("records")]


def command(suite: Suite, options: Options) -> str:
    """What makes the table again, with what was not left at its default; folders do not matter."""
    words = ["python", "benchmarks/quality.py", "--suite", suite.name]
    words += ["--seeds", str(options.seeds)] if options.seeds else []
    words += ["--cuts", str(options.cuts)] if options.cuts else []
    return shlex.join([*words, *(word for pair in options.overrides for word in ("--set", pair))])


def relative(path: Path) -> str:
    """The path from the repository's root, or as it is where it lies elsewhere."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def hashes(suite: Suite, places: Places) -> dict[str, str]:
    """sha256 of the raw files, and of what was converted from them."""
    files = {name: places.data / name for name in suite.data}
    files |= {f"converted/{path.name}": path for path in sorted(suite_folder(suite, places).glob("*.tsv"))}
    return {name: sha256(path) for name, path in files.items()}


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    typer.run(main)
