"""Raw files in, a suite's table out: the product's own nights, at least three seeds, intervals over users.

python benchmarks/quality.py --suite beauty_sports_toys
python benchmarks/quality.py --suite beauty_sports_toys --only-seed 12  # one machine's share
python benchmarks/quality.py --suite ablations --only-part without_text  # another's
python benchmarks/quality.py --suite beauty_sports_toys --report  # tables of what is finished, nothing is run
"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.quality_suites.cells import in_segment
from benchmarks.quality_suites.clicks import click_rows
from benchmarks.quality_suites.converters import CONVERTERS
from benchmarks.quality_suites.finished import VALUES, Finished, Places, distinct, one_origin, read_values
from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.nights import finished_seeds, run_part, suite_folder
from benchmarks.quality_suites.origin import hashes, revision
from benchmarks.quality_suites.page import ABOUT, ROOT, update_page
from benchmarks.quality_suites.suite import Part, Suite, read_suite, suite_file
from benchmarks.report import describe_machine
from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.errors import InputError
from jobs.steps import SetOption, TracebackOption, parse_overrides


@dataclass(frozen=True)
class Options:
    """What of the command line says which nights are run."""

    seeds: int = 0
    cuts: int = 0
    only_seed: int | None = None
    only_part: str | None = None
    fresh: bool = False
    keep_lakes: bool = False


def main(
    suite: Annotated[str, typer.Option(help="Name of a file in conf/suites, or the path of another.")],
    seeds: Annotated[int, typer.Option(help="Run this many of the suite's seeds; 0 for all.")] = 0,
    cuts: Annotated[int, typer.Option(help="Run this many of the suite's cuts, the earliest first; 0 for all.")] = 0,
    only_seed: Annotated[int | None, typer.Option(help="Run this one of the suite's seeds.")] = None,
    only_part: Annotated[str | None, typer.Option(help="Run this one of the suite's parts.")] = None,
    fresh: Annotated[bool, typer.Option(help="Run finished seeds again.")] = False,
    report: Annotated[bool, typer.Option(help="Run nothing: make results and page of finished seeds.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the raw files.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Folder of results and finished seeds.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder of lakes and converted files.")] = Path(".cache/quality"),
    page: Annotated[Path, typer.Option(help="The page whose tables are made again.")] = Path("docs/results.md"),
    samples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap.")] = 10_000,
    keep_lakes: Annotated[bool, typer.Option(help="Keep the lake of every finished cut.")] = False,
    set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
    traceback: TracebackOption = False,
) -> None:
    """Run what is missing of a suite, and write benchmarks/results/SUITE.json and docs/results.md of all that is there.

    A finished seed of a cut is written at once below benchmarks/results/values, to be committed: killed and started
    again, here or on another machine, the suite goes on with what is missing. Seeds of other settings are left out.
    """
    with one_line_errors(traceback):
        chosen, places = read_suite(suite_file(suite)), Places(data, work, out)
        options = Options(seeds, cuts, only_seed, only_part, fresh, keep_lakes)
        if report and options != Options():
            raise InputError("--report runs nothing; leave --seeds, --cuts, --only-..., --fresh and --keep-lakes out")
        if not report:
            run_all(chosen, options, places, set_)
        finished = read_all(chosen, places, set_)
        write_results(chosen, finished, places, set_, samples=samples, file=suite_file(suite))
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


def run_all(suite: Suite, options: Options, places: Places, overrides: Sequence[str]) -> None:
    """Run what is missing of the chosen parts, cuts and seeds, in order."""
    seeds, cuts = chosen_seeds_and_cuts(suite, options)
    check_data(suite, places.data)
    convert(suite, places)
    origin = {"revision": revision(ROOT), "machine": describe_machine(), "sha256": hashes(files_of(suite, places))}
    nights = [(part, cut) for part in chosen_parts(suite, options) for cut in cuts]
    for number, (part, cut) in enumerate(nights, 1):
        print(f"[{number}/{len(nights)}] {suite.name}, {part.name}, {cut or 'one split'}", flush=True)
        run_part(
            suite, part, cut, seeds=seeds, places=places, overrides=parse_overrides(list(overrides)), origin=origin,
            keep_lake=options.keep_lakes, fresh=options.fresh,
        )  # fmt: skip


def chosen_parts(suite: Suite, options: Options) -> list[Part]:
    """The parts to run: all, or the one.

    Raises:
        InputError: the one part is none of the suite's.
    """
    names = [part.name for part in suite.parts]
    if options.only_part not in (None, *names):
        raise InputError(f"--only-part {options.only_part}: expected one of {', '.join(names)}")
    return [part for part in suite.parts if options.only_part in (None, part.name)]


def chosen_seeds_and_cuts(suite: Suite, options: Options) -> tuple[list[int], list[str]]:
    """The seeds and the cuts to run: the first ones, as many as asked for, or the one seed.

    Raises:
        InputError: the one seed is none of the suite's.
    """
    if options.only_seed not in (None, *suite.seeds):
        raise InputError(f"--only-seed {options.only_seed}: expected one of {', '.join(map(str, suite.seeds))}")
    only = [seed for seed in suite.seeds if seed == options.only_seed]
    return only or suite.seeds[: options.seeds or None], sorted(suite.cuts)[: options.cuts or None]


def read_all(suite: Suite, places: Places, overrides: Sequence[str]) -> list[Finished]:
    """Everything of the suite that is finished with these settings; names the files that are not used.

    Raises:
        InputError: there is nothing.
    """
    tree = parse_overrides(list(overrides))
    nights = [(part, cut) for part in suite.parts for cut in sorted(suite.cuts)]
    finished = [each for part, cut in nights for each in finished_seeds(suite, part, cut, places, tree)]
    folder = places.results / VALUES / suite.name
    for path in sorted({path.stem for path in folder.glob("*.json")} - {each.values.stem for each in finished}):
        print(f"left out: {folder / path}: other settings, metrics or sampling, or a file is missing", flush=True)
    if not finished:
        raise InputError(f"{folder}: no seed is finished with these settings; run the suite without --report")
    return finished


def write_results(
    suite: Suite, finished: Sequence[Finished], places: Places, overrides: Sequence[str], *, samples: int, file: Path
) -> None:
    """Write SUITE.json, a list of rows, and SUITE.about.json: comparisons, and what the rows were made with."""
    origin, values = one_origin(finished), read_values(finished, suite)
    seconds = seconds_per_seed(finished)
    rows, comparisons = measure(values, suite, samples=samples, seconds=seconds)
    rows += click_rows(finished, suite, seconds=seconds)
    nights = [
        {"part": each.part.name, "cut": each.cut, "seed": each.seed, "guard": each.about["decisions"],
         **{key: each.about[key] for key in ("revision", "day", "seconds")}} for each in finished
    ]  # fmt: skip
    about = {
        "suite": suite.name, "file": relative(file), "command": command(suite, overrides),
        "seeds": sorted({each.seed for each in finished}), "cuts": sorted({each.cut for each in finished}),
        "days": sorted(distinct(finished, "day")), "machines": distinct(finished, "machine"),
        "versions": distinct(finished, "versions"), "revisions": distinct(finished, "revision"),
        "bootstrap_samples": samples, "seconds_per_seed": seconds, "sha256": origin,
        "nights": nights, "comparisons": comparisons, "value_by_seed": by_seed(values, suite),
    }  # fmt: skip
    places.results.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{suite.name}.json", rows), (f"{suite.name}{ABOUT}", about)):
        (places.results / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def seconds_per_seed(finished: Sequence[Finished]) -> float:
    """Seconds of one seed over our parts and cuts that are there: the mean of each one's seeds, summed."""
    by_night: dict[tuple[str, str], list[float]] = {}
    for each in (each for each in finished if not each.part.peers):
        by_night.setdefault((each.part.name, each.cut), []).append(sum(each.about["seconds"].values()))
    return round(sum(sum(seconds) / len(seconds) for seconds in by_night.values()), 1)


def by_seed(values: pd.DataFrame, suite: Suite) -> list[dict[str, Any]]:
    """The first metric over all users for each seed: how much the training alone moves it."""
    metric, n = suite.measures[0]
    own = in_segment(values[(values["metric"] == metric) & (values["n"] == n)], "all")
    means = own.groupby(["table", "domain", "model", "seed"])["value"].mean().reset_index()
    return [{str(name): value for name, value in row.items()} for row in means.to_dict("records")]


def command(suite: Suite, overrides: Sequence[str]) -> str:
    """What makes the whole table again; folders, and the order in which seeds were finished, do not matter."""
    words = ["python", "benchmarks/quality.py", "--suite", suite.name]
    return shlex.join([*words, *(word for pair in overrides for word in ("--set", pair))])


def relative(path: Path) -> str:
    """The path from the repository's root, or as it is where it lies elsewhere."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def files_of(suite: Suite, places: Places) -> dict[str, Path]:
    """The raw files, and what was converted from them."""
    converted = sorted(suite_folder(suite, places).glob("*.tsv"))
    return {name: places.data / name for name in suite.data} | {f"converted/{path.name}": path for path in converted}


if __name__ == "__main__":
    typer.run(main)
