"""A made-up log in, users per second of the whole scoring job by this project and others out, as JSON.

The job reads a lake and writes one: every user's list of the best unseen items. Here it is held against its own kernel
and encoder without Spark, and against the ways in which others make lists; all in turns, everything started before.

python benchmarks/scoring_job.py                                             # 20,000 users, 20,000 items
python benchmarks/scoring_job.py --users 200000                              # 200,000 users
python benchmarks/scoring_job.py --users 100000 --items 100000               # 100,000 of both
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.feed import describe_machine
from benchmarks.topn_kernel import Command, workers
from benchmarks.train_step import time_in_turns
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.delta import write_rows
from crossrec_core.frames.storage import read_table
from crossrec_core.lake import candidates_location
from crossrec_core.lake_reader import read_arrow
from crossrec_core.settings import Settings
from crossrec_core.tensors.batches import SEQUENCE_COLUMNS
from jobs import clean, prepare
from jobs.fitted import model_row, save_model
from jobs.ground import read_ground
from jobs.lists import FittedModel, to_model
from jobs.serve import make_lists
from jobs.steps import Night, spark_session, start_night
from jobs.training import new_model

DOMAIN = "shop"
JOB, KERNEL, SPARK_ALS = "crossrec, lake to lake", "crossrec, no Spark", "Spark ALS"
OWN_WORKER = Path(__file__).resolve().with_name("scoring_worker.py")
SECONDS_BETWEEN_EVENTS = 3600
FIRST_DAY = 1_700_000_000


@dataclass(frozen=True)
class Scene:
    """A prepared run with a model that nothing has trained: weights change no one's speed."""

    settings: Settings
    night: Night
    spark: SparkSession
    models: list[FittedModel]


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/scoring_job.json"),
    users: Annotated[int, typer.Option(min=100, help="everyone gets a list")] = 20_000,
    items: Annotated[int, typer.Option(min=100, help="all are ranked")] = 20_000,
    seen: Annotated[int, typer.Option(min=1, help="events of each user, all of different items")] = 20,
    n: Annotated[int, typer.Option(min=1, help="length of the lists")] = 50,
    width: Annotated[int, typer.Option(min=1, help="of the vectors, the factors of others included")] = 64,
    repetitions: Annotated[int, typer.Option(min=5, help="timed runs of each")] = 5,
    driver_memory: Annotated[str, typer.Option(help="of Spark")] = "6g",
) -> None:
    """Time all contenders in turns and print medians."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_events(folder / "events.parquet", users=users, items=items, seen=seen)
        settings = job_settings(folder, n=n, width=width, driver_memory=driver_memory)
        spark = stack.enter_context(spark_session(settings))
        scene = prepare_scene(settings, spark)
        als = fit_als(scene, width)
        cores = len(os.sched_getaffinity(0))
        ours = [Command(Path(sys.executable), OWN_WORKER, (part, cores)) for part in range(cores)]
        save_scene(scene, folder)
        contenders: dict[str, Callable[[], object]] = {
            JOB: lambda: make_lists(settings, scene.night, spark, scene.models),
            KERNEL: stack.enter_context(workers(ours, folder, n)),
            SPARK_ALS: lambda: list_by_als(scene, als, n, folder / "als"),
        }
        seconds = time_in_turns(contenders, repetitions=repetitions)
        check_lists(scene, users=users, n=n)
    results = summarise(seconds, users)
    report = {
        "machine": describe_machine(),
        "versions": {"python": platform.python_version(),
                     **{name: version(name) for name in ("pyspark", "torch", "numba", "pyarrow", "pandas")}},
        "settings": {"users": users, "items": items, "seen": seen, "n": n, "width": width, "cores": cores,
                     "repetitions": repetitions},
        "seconds": seconds,
        "results": results,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, row in results.items():
        typer.echo(f"{name:<26}{row['median_s']:>9.2f} s{row['users_per_s']:>10,.0f} users/s{row['times_ours']:>8.2f}x")
    typer.echo(f"written to {out}")


def write_events(file: Path, *, users: int, items: int, seen: int) -> None:
    """Every user has ``seen`` events of different items, at random; the same file for the same sizes."""
    generator = np.random.default_rng(0)
    # A start and a step that has no factor in common with the number of items never meet an item twice
    steps = generator.choice([step for step in range(1, items) if np.gcd(step, items) == 1], size=(users, 1))
    places = (generator.integers(items, size=(users, 1)) + steps * np.arange(seen)) % items
    table = pa.table({
        "user_id": pa.array(np.repeat(np.char.add("u", np.arange(users).astype(str)), seen)),
        "item_id": pa.array(np.char.add("i", places.ravel().astype(str))),
        "event_time": pa.array(np.tile(FIRST_DAY + SECONDS_BETWEEN_EVENTS * np.arange(seen), users)),
    })  # fmt: skip
    pq.write_table(table, file)


def job_settings(folder: Path, *, n: int, width: int, driver_memory: str) -> Settings:
    """One domain, nothing held out."""
    return read_config(DEFAULTS, overrides={
        "lake": {"path": str(folder / "lake")},
        "spark": {"driver_memory": driver_memory},
        "domains": {DOMAIN: {"path": str(folder / "events.parquet"), "format": "parquet"}},
        "split": {"test_days": 0, "valid_days": 0},
        "train": {"purposes": []},
        "model": {"width": width},
        "score": {"n": n},
        "evaluate": {"n": [n], "guard_n": n},
    })  # fmt: skip


def prepare_scene(settings: Settings, spark: SparkSession) -> Scene:
    """Run the steps before scoring, with an untrained model in place of a trained one."""
    night = start_night(settings, run_id="scoring")
    clean.run(settings, night, spark)
    prepare.run(settings, night, spark)
    ground = read_ground(settings, night, spark, c.SERVE)
    location = save_model(settings, ground, new_model(settings, ground), c.TRANSFERRED, DOMAIN, fitted_with={})
    row = model_row(
        ground, model=c.TRANSFERRED, domain=DOMAIN, location=location, fitted_with={"valid_ndcg": None}, seconds=0.0
    )
    write_rows(night.lake, t.MODELS, [row], replace={c.RUN_ID: night.run_id, c.PURPOSE: c.SERVE})
    return Scene(settings, night, spark, [to_model(row)])


def save_scene(scene: Scene, folder: Path) -> None:
    """What ``scoring_worker.py`` reads: the users' sequences and seen items, and where the model lies."""
    where = {c.RUN_ID: scene.night.run_id, c.PURPOSE: c.SERVE}
    sequences, histories = (
        read_arrow(scene.night.lake, table, where=where, columns=[c.USER_NUM, *names]).sort_by(c.USER_NUM)
        for table, names in ((t.SEQUENCES, SEQUENCE_COLUMNS), (t.HISTORIES, [c.ITEM_NUMS]))
    )
    lists = {name: as_matrix(sequences[name]) for name in SEQUENCE_COLUMNS}
    np.savez(folder / "users.npz", **lists, **{c.SEEN: as_matrix(histories[c.ITEM_NUMS])})
    (folder / "model").write_text(scene.night.lake.at(scene.models[0].location), encoding="utf-8")
    (folder / "candidates").write_text(
        scene.night.lake.at(candidates_location(scene.night.run_id, c.SERVE)), encoding="utf-8"
    )


def as_matrix(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Lists of one length as rows."""
    flat: npt.NDArray[np.int64] = pc.list_flatten(lists).to_numpy()
    return flat.reshape(len(lists), -1)


def fit_als(scene: Scene, rank: int) -> ALSModel:
    """One sweep: as with ours, weights change no one's speed."""
    als = ALS(userCol=c.USER_NUM, itemCol=c.ITEM_NUM, ratingCol=c.WEIGHT, rank=rank, maxIter=1, implicitPrefs=True)
    model: ALSModel = als.fit(read_events(scene))
    for factors in (model.userFactors, model.itemFactors):
        factors.cache().count()
    return model


def read_events(scene: Scene) -> DataFrame:
    """user_num, item_num, weight."""
    rows = read_table(scene.spark, scene.night.lake, t.SPLIT_INTERACTIONS, run_id=scene.night.run_id)
    return rows.select(F.col(c.USER_NUM).cast("int"), F.col(c.ITEM_NUM).cast("int"), c.WEIGHT)


def list_by_als(scene: Scene, als: ALSModel, n: int, folder: Path) -> None:
    """As its users do it: enough items that the best unseen ones are among them, then the seen ones taken out."""
    events = read_events(scene)
    most_seen = events.groupBy(c.USER_NUM).count().agg(F.max("count")).collect()[0][0]
    listed = als.recommendForUserSubset(events.select(c.USER_NUM).distinct(), n + most_seen)
    scored = listed.select(c.USER_NUM, F.posexplode("recommendations").alias("place", "found"))
    unseen = scored.select(
        c.USER_NUM, "place", F.col("found")[c.ITEM_NUM].alias(c.ITEM_NUM), F.col("found")["rating"].alias(c.SCORE)
    ).join(events.select(c.USER_NUM, c.ITEM_NUM), on=[c.USER_NUM, c.ITEM_NUM], how="left_anti")
    best = unseen.groupBy(c.USER_NUM).agg(
        F.slice(F.array_sort(F.collect_list(F.struct("place", c.ITEM_NUM, c.SCORE))), 1, n).alias("found")
    )
    rows = best.select(c.USER_NUM, F.posexplode("found").alias(c.RANK, "found"))
    rows.select(c.USER_NUM, c.RANK, f"found.{c.ITEM_NUM}", f"found.{c.SCORE}").write.mode("overwrite").parquet(
        str(folder)
    )


def check_lists(scene: Scene, *, users: int, n: int) -> None:
    """Everyone has a whole list, and nobody an item they know."""
    where = {c.PURPOSE: c.SERVE}
    lists = read_table(scene.spark, scene.night.lake, t.RECOMMENDATIONS, run_id=scene.night.run_id, where=where)
    found = lists.where(F.col(c.USER_ID) != c.NEW_USER_ID)
    known = read_table(scene.spark, scene.night.lake, t.INTERACTIONS, run_id=scene.night.run_id)
    assert found.count() == users * n, "some list is not whole"
    repeated = found.join(known.select(c.USER_ID, c.ITEM_ID), on=[c.USER_ID, c.ITEM_ID], how="left_semi").count()
    assert repeated == 0, f"{repeated} rows are items that the user knows"


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
