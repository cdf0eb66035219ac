"""A made-up log in, users per second of the whole scoring job by this project and others out, as JSON.

The job reads a lake and writes one: every user's list of the best unseen items. Here it is held against its own kernel
and encoder without Spark, and against the ways in which others make lists, from histories on disk to lists on disk. All
in turns, everything started before, every list of everyone checked before.

python benchmarks/scoring_job.py                                             # 20,000 users, 20,000 items
python benchmarks/scoring_job.py --users 200000                              # 200,000 users
python benchmarks/scoring_job.py --users 100000 --items 100000               # 100,000 of both
python benchmarks/scoring_job.py --without als --without replay              # leave someone out
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.peers.registry import RECTOOLS_LISTS, REPLAY_LISTS
from benchmarks.report import write_report
from benchmarks.scoring_suite.checks import check_lists
from benchmarks.scoring_suite.contenders import TITLES, Contender, Name, start
from benchmarks.scoring_suite.scene import Shape, job_settings, prepare_scene, save_scene, write_events
from benchmarks.timing import read_counts, time_in_turns
from jobs.steps import spark_session

JOB = TITLES[Name.JOB]


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/scoring_job.json"),
    users: Annotated[int, typer.Option(min=100, help="everyone gets a list")] = 20_000,
    items: Annotated[int, typer.Option(min=100, help="all are ranked")] = 20_000,
    seen: Annotated[int, typer.Option(min=1, help="events of each user, all of different items")] = 20,
    history: Annotated[int, typer.Option(min=1, help="events that an encoder sees, sequences.max_len")] = 50,
    n: Annotated[int, typer.Option(min=1, help="length of the lists")] = 50,
    width: Annotated[int, typer.Option(min=1, help="of the vectors, the factors of others included")] = 64,
    layers: Annotated[int, typer.Option(min=1, help="of the encoders")] = 1,
    heads: Annotated[int, typer.Option(min=1, help="of their attention")] = 2,
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    fewer: Annotated[list[str], typer.Option(help="NAME=COUNT: fewer timed runs of a slow one")] = [],  # noqa: B006
    without: Annotated[list[Name], typer.Option(help="leave a contender out")] = [],  # noqa: B006  (read only)
    driver_memory: Annotated[str, typer.Option(help="of Spark, ours and RePlay's each, in whole GiB")] = "6g",
    environments: Annotated[Path, typer.Option(help="where those of other packages lie")] = Path(".cache/peers"),
) -> None:
    """Check every contender's lists, time all contenders in turns and print medians."""
    names = [name for name in Name if name not in without or name is Name.JOB]
    counts = read_counts(fewer, names=list(Name), repetitions=repetitions)
    shape = Shape(width=width, layers=layers, heads=heads, history=history)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_events(folder / "events.parquet", users=users, items=items, seen=seen)
        settings = job_settings(folder, n=n, shape=shape, driver_memory=driver_memory)
        spark = stack.enter_context(spark_session(settings))
        scene = prepare_scene(settings, spark)
        save_scene(scene, folder)
        contenders = {
            TITLES[name]: start(name, scene, folder, stack, n=n, shape=shape, environments=environments)
            for name in names
        }
        solve_and_check(contenders, users=users, n=n)
        seconds = time_in_turns(
            {title: contender.solve for title, contender in contenders.items()},
            repetitions=repetitions, untimed=1, fewer={TITLES[Name(name)]: count for name, count in counts.items()},
        )  # fmt: skip
    results = summarise(seconds, users)
    for title, row in results.items():
        typer.echo(
            f"{title:<28}{row['median_s']:>9.2f} s{row['users_per_s']:>10,.0f} users/s{row['times_ours']:>8.2f}x"
        )
    write_report(
        out,
        packages=["pyspark", "torch", "numba", "pyarrow", "pandas"],
        peers=[package for name, package in ((Name.REPLAY, REPLAY_LISTS), (Name.RECTOOLS, RECTOOLS_LISTS))
               if name in names],
        settings={"users": users, "items": items, "seen": seen, "history": history, "n": n, "width": width,
                  "layers": layers, "heads": heads, "cores": len(os.sched_getaffinity(0)),
                  "driver_memory": driver_memory, "repetitions": repetitions, "fewer": counts,
                  "without": [name for name in Name if name not in names]},
        seconds=seconds,
        results=results,
    )  # fmt: skip


def solve_and_check(contenders: dict[str, Contender], *, users: int, n: int) -> None:
    """Let each make its lists once, and look at all of them.

    Raises:
        CrossRecError: a list is too short, has an item twice or one that its user knows.
    """
    for title, contender in contenders.items():
        contender.solve()
        if contender.read is not None:
            check_lists(title, *contender.read(), users=users, n=n)


def summarise(seconds: dict[str, list[float]], users: int) -> dict[str, dict[str, float]]:
    """Median seconds, users per second, and how many times as long as ours."""
    medians = {name: float(np.median(own)) for name, own in seconds.items()}
    return {
        name: {
            "median_s": round(median, 3), "users_per_s": round(users / median, 1),
            "times_ours": round(median / medians[JOB], 2),
        }
        for name, median in medians.items()
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
