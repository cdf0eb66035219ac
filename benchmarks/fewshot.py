"""MovieLens in, few-shot users' P@5 and NDCG@5 out: the product's heads and floors, random splits, intervals.

python benchmarks/fewshot.py --data ml_100k --splits 20
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.fewshot_suite.one_split import SplitPlan
from benchmarks.fewshot_suite.ratings import read_ratings
from benchmarks.fewshot_suite.report import run_or_read, write_results
from benchmarks.quality_suites.page import ABOUT, update_page
from benchmarks.quality_suites.suite import read_suite
from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.demo.platforms import ITEM_FILE, LOG_FILE
from jobs.steps import TracebackOption

SUITE_FOLDER = Path(__file__).resolve().parent / "fewshot_suite"


def main(
    data: Annotated[str, typer.Option(help="ml_100k or ml_1m.")] = "ml_100k",
    splits: Annotated[int, typer.Option(min=1, help="How many random splits, from number 0.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder of the data and of finished splits.")] = Path(".cache/fewshot"),
    page: Annotated[Path, typer.Option(help="The page whose tables are made again.")] = Path("docs/results.md"),
    samples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap.")] = 10_000,
    traceback: TracebackOption = False,
) -> None:
    """Run the few-shot protocol to benchmarks/results/fewshot_users_DATA.json and docs/results.md.

    Killed and started again it goes on: finished splits are not run again. Uses one thread.
    """
    with one_line_errors(traceback):
        torch.set_num_threads(1)
        file = SUITE_FOLDER / f"fewshot_users_{data}.toml"
        suite, plan = read_suite(file), SplitPlan()
        ratings = read_ratings(work / "data", data)
        found = []
        for number in range(splits):
            found.append(run_or_read(ratings, data, number, plan, work / "splits"))
            print(f"[{number + 1}/{splits}] {data}: {found[-1].chosen['seconds']:.0f} s", flush=True)
        command = shlex.join(["python", "benchmarks/fewshot.py", "--data", data, "--splits", str(splits)])
        sources = [work / "data" / data / name for name in (LOG_FILE, ITEM_FILE)]
        write_results(suite, found, plan, out=out, file=file, command=command, samples=samples, data=sources)
        update_page(page, out)
        print(f"written: {out / suite.name}.json, {out / suite.name}{ABOUT}, {page}", flush=True)


if __name__ == "__main__":
    typer.run(main)
