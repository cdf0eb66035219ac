"""A made-up log of which a few users change overnight in, seconds of a refresh and of a whole night out, as JSON.

All publish the same lists: a refresh of the changed users, told by the file that came overnight or by a look at every
row, and a whole night without its training (the log cleaned and prepared from the start, all lists by the same
network). In turns, in one Spark session, each after the same night. How much longer a night with training takes is not
in the figure. A refresh of everyone, not timed, must publish them too.

python benchmarks/increment.py                    # 20,000 users
python benchmarks/increment.py --users 200000     # 200,000 users: 4 million events
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from pyspark.sql import SparkSession

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from benchmarks.scoring_suite.scene import (
    FIRST_DAY,
    SECONDS_BETWEEN_EVENTS,
    Scene,
    Shape,
    job_settings,
    prepare_scene,
    write_events,
)
from benchmarks.timing import time_in_turns
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.lake_reader import connect, query, read_rows
from crossrec_core.settings import Settings
from jobs import clean, prepare, publish, refresh
from jobs.serve import make_lists
from jobs.steps import Night, run_step, spark_session

FEW, COMPARED, WHOLE = "refresh", "refresh, every row compared", "whole night, no training"
BASE = "scoring"  # the run that prepare_scene makes
# What the lists of a run are, whatever the order of their rows: too many to hold as Python's rows
LISTS = """
SELECT count(*), sum(hash(lists)::HUGEINT)
FROM (SELECT * EXCLUDE (run_id, run_date) FROM recommendations WHERE purpose = 'serve') AS lists
"""


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/increment.json"),
    users: Annotated[int, typer.Option(min=100, help="everyone has a list")] = 20_000,
    items: Annotated[int, typer.Option(min=100, help="all are ranked")] = 20_000,
    seen: Annotated[int, typer.Option(min=1, help="events of each user")] = 20,
    changed: Annotated[float, typer.Option(min=0, max=1, help="share of the users with one event more")] = 0.02,
    n: Annotated[int, typer.Option(min=1, help="length of the lists")] = 50,
    width: Annotated[int, typer.Option(min=1, help="of the network, of one layer")] = 64,
    history: Annotated[int, typer.Option(min=1, help="events that the network sees")] = 50,
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    driver_memory: Annotated[str, typer.Option(help="of Spark")] = "6g",
) -> None:
    """Time both in turns, check that they publish the same, and print medians."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "events.parquet"  # a folder, as logs mostly are
        log.mkdir()
        write_events(log / "until_yesterday.parquet", users=users, items=items, seen=seen)
        settings = job_settings(
            folder, n=n, shape=Shape(width, layers=1, heads=1, history=history), driver_memory=driver_memory
        )
        settings = replace(settings, lake=replace(settings.lake, keep_runs=1000))  # no run leaves while it is timed
        spark = stack.enter_context(spark_session(settings))
        scene = publish_night(settings, spark)
        num_changed = round(users * changed)
        add_events(log / "today.parquet", num_changed=num_changed, users=users, items=items, seen=seen)
        numbers = count()
        ways: dict[str, Callable[[], object]] = {
            FEW: lambda: refreshed(scene, f"few{next(numbers)}"),
            COMPARED: lambda: refreshed(scene, f"compared{next(numbers)}", every_row=True),
            WHOLE: lambda: whole_night(scene, f"whole{next(numbers)}"),
        }
        seconds = time_in_turns(ways, repetitions=repetitions)
        refreshed(scene, "all", everyone=True)
        check_same(scene, num_changed=num_changed)
    results = summarise(seconds)
    for name, row in results.items():
        typer.echo(f"{name:<29}{row['median_s']:>9.2f} s{row['share_of_whole']:>8.3f} of the whole night")
    write_report(
        out,
        packages=["pyspark", "torch", "deltalake", "duckdb"],
        settings={"users": users, "items": items, "seen": seen, "changed": num_changed, "n": n, "width": width,
                  "history": history, "repetitions": repetitions},
        seconds=seconds,
        results=results,
    )  # fmt: skip


def publish_night(settings: Settings, spark: SparkSession) -> Scene:
    """A prepared run with an untrained network, its lists, and their publication."""
    scene = prepare_scene(settings, spark)
    run_step("serve", partial(serve, scene), settings, scene.night, spark)
    publish.run(settings, scene.night, spark)
    return scene


def serve(scene: Scene, settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Everyone's lists by the network of the first night."""
    return {t.RECOMMENDATIONS.name: make_lists(settings, night, spark, scene.models, candidates_run=BASE)}


def add_events(file: Path, *, num_changed: int, users: int, items: int, seen: int) -> None:
    """A file with one event more for users that are spread over the log."""
    places = [place * users // num_changed for place in range(num_changed)]
    new = pa.table({
        "user_id": [f"u{place}" for place in places],
        "item_id": [f"i{place % items}" for place in places],
        "event_time": pa.array([FIRST_DAY + SECONDS_BETWEEN_EVENTS * seen] * num_changed, pa.int64()),
    })  # fmt: skip
    pq.write_table(new, file)


def refreshed(scene: Scene, run_id: str, *, every_row: bool = False, everyone: bool = False) -> None:
    """From the logs to the publication."""
    base, night = refresh.find_base(scene.settings, scene.night.lake, BASE), replace(scene.night, run_id=run_id)
    refresh.run(scene.settings, night, scene.spark, base=base, every_row=every_row, everyone=everyone)
    publish.run(scene.settings, night, scene.spark)


def whole_night(scene: Scene, run_id: str) -> None:
    """From the logs to the publication, as a night goes whose models are there already."""
    night = replace(scene.night, run_id=run_id)
    clean.run(scene.settings, night, scene.spark)
    prepare.run(scene.settings, night, scene.spark)
    rows = read_rows(night.lake, t.MODELS, where={c.RUN_ID: BASE})
    write_rows(night.lake, t.MODELS, [{**row, c.RUN_ID: run_id} for row in rows], replace={c.RUN_ID: run_id})
    serve(scene, scene.settings, night, scene.spark)
    publish.run(scene.settings, night, scene.spark)


def check_same(scene: Scene, *, num_changed: int) -> None:
    """The last run of each way shows the same lists, and the refreshes wrote those of the changed users only."""
    lake = scene.night.lake
    published = {row[c.RUN_ID]: row["published_at"] for row in read_rows(lake, t.PUBLICATIONS)}
    newest = sorted(published, key=lambda run_id: published[run_id])
    shown = []
    for name in ("few", "compared", "all", "whole"):
        run_id = [run for run in newest if run.startswith(name)][-1]
        with connect(lake, run_id=run_id, tables=(t.RECOMMENDATIONS,)) as connection:
            shown.append(query(connection, LISTS).rows)
        if name in ("few", "compared"):
            written = {row[c.USER_ID] for row in read_rows(lake, t.RECOMMENDATIONS, where={c.RUN_ID: run_id})}
            assert len(written) == num_changed + 1, f"{len(written)} lists written; expected {num_changed + 1}"
    assert shown[0] == shown[1], "the lists refreshed by the file that came are not those by a look at every row"
    assert shown[0] == shown[2], "the refreshed lists are not those of everyone made anew"
    assert shown[0] == shown[3], "the refreshed lists are not those of a whole night"


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median seconds, and their share of the whole night's."""
    medians = {name: sorted(own)[len(own) // 2] for name, own in seconds.items()}
    return {
        name: {"median_s": round(median, 3), "share_of_whole": round(median / medians[WHOLE], 3)}
        for name, median in medians.items()
    }


if __name__ == "__main__":
    typer.run(main)
