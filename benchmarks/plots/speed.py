"""JSON of the speed benchmarks in, their plots out. Each function reads the files that it names, and nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots.panels import BEST_OF_OURS, OTHER, Curves, Mark, Panel, Plot

OURS = ("crossrec", "feed")  # how the names of our contenders begin
Read = Callable[[str], Any]  # the name of a file below benchmarks/results, without .json


def speed_plots(results: Path) -> list[Plot]:
    """The plots of docs/benchmarks.md."""

    def read(name: str) -> Any:
        return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))

    return [make(read) for make in (topn, prepare, scoring, refresh, feed, training, metrics)]


def topn(read: Read) -> Plot:
    """Users per second of exact and compressed lists, over those of the bare product."""
    runs = [run for name in ("topn_kernel", "topn_kernel_1m") for run in read(name)["runs"]]
    panels = [
        Panel(
            title=f"{run['items']:,} items, width {run['width']}", axis="times the rate of the bare product",
            marks=_marks(run["results"], "share_of_limit", leave_out=("bare product",)),
            guides={"bare product": 1.0, "goal": 0.8}, bars=True,
        )
        for run in runs
    ]  # fmt: skip
    return Plot(name="topn", caption="Lists of 50 of a catalogue, two threads", panels=panels, columns=2)


def prepare(read: Read) -> Plot:
    """Seconds of cleaning and preparing a log, by its rows."""
    runs = read("prepare")["runs"]
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        for name, result in run["results"].items():
            lines.setdefault(name, []).append((run["rows"], result["median_s"]))
    if len(runs) > 1:
        panel: Panel | Curves = Curves(
            title="Clean and prepare, two cores", x_axis="rows of the log", y_axis="seconds", lines=lines, log=True
        )
    else:
        panel = Panel(
            title=f"Clean and prepare {runs[0]['rows']:,} rows, two cores", axis="seconds",
            marks=_marks(runs[0]["results"], "median_s"), bars=True,
        )  # fmt: skip
    return Plot(name="prepare", caption="Cleaning and preparing a log", panels=[panel])


def scoring(read: Read) -> Plot:
    """Users per second from lake to lake."""
    panels = []
    for name in ("scoring_job", "scoring_job_200k", "scoring_job_100k"):
        found = read(name)
        settings = found["settings"]
        panels.append(
            Panel(
                title=f"{settings['users']:,} users, {settings['items']:,} items", axis="users per second",
                marks=_marks(found["results"], "users_per_s"), bars=True,
            )
        )  # fmt: skip
    return Plot(name="scoring", caption="Lists for everyone, from lake to lake", panels=panels, columns=2)


def refresh(read: Read) -> Plot:
    """Seconds of a refresh and of a whole night."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name in ("increment", "increment_200k"):
        found = read(name)
        for contender, result in found["results"].items():
            lines.setdefault(contender, []).append((found["settings"]["users"], result["median_s"]))
    panel = Curves(title="2 % of the users have changed", x_axis="users", y_axis="seconds", lines=lines, log=True)
    return Plot(name="refresh", caption="A refresh against a whole night without training", panels=[panel])


def feed(read: Read) -> Plot:
    """Rows per second into torch."""
    panel = Panel(
        title="Reading batches", axis="rows per second", marks=_marks(read("feed")["results"], "rows_per_s"), bars=True
    )
    return Plot(name="feed", caption="Parquet into batches of torch", panels=[panel])


def training(read: Read) -> Plot:
    """Sequences per second of an epoch, by loss."""
    found = read("train_two_threads")
    panels = [
        Panel(
            title=f"{run['log']}, {run['loss']}",
            axis=f"sequences per second, {found['settings']['threads']} threads",
            marks=_marks(run["results"], "sequences_per_s"), bars=True,
        )
        for run in found["runs"]
    ]  # fmt: skip
    return Plot(
        name="training", caption="An epoch of training at equal width, depth and length", panels=panels, columns=2
    )


def metrics(read: Read) -> Plot:
    """Seconds of ranking metrics."""
    found = read("metrics")
    title = f"{found['settings']['users']:,} users, lists of {found['settings']['length']}"
    panel = Panel(title=title, axis="seconds", marks=_marks(found["results"], "median_s"), bars=True)
    return Plot(name="metrics", caption="Six ranking metrics at four lengths", panels=[panel])


def _marks(results: Mapping[str, Mapping[str, float]], key: str, *, leave_out: Sequence[str] = ()) -> list[Mark]:
    return [
        Mark(name, result[key], kind=BEST_OF_OURS if name.startswith(OURS) else OTHER)
        for name, result in results.items() if name not in leave_out
    ]  # fmt: skip
