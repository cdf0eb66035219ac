"""A made-up log in, a prepared run with an untrained model out, and its users as files for workers without Spark (IO).

U users, S events of each.

    users.npz             sequences and seen items of our own worker
    histories.parquet     user_id, item_id and seen_ids (both lists, oldest first): what RePlay reads
    interactions.parquet  user_id, item_id, weight, datetime: what RecTools reads, and what everyone is checked against

Users of the Parquet files are user numbers, items are item numbers less one, so that they count from 0.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.delta import write_rows
from crossrec_core.lake import candidates_location
from crossrec_core.lake_reader import read_arrow
from crossrec_core.settings import Settings
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from jobs import clean, prepare
from jobs.fitted import model_row, save_model
from jobs.ground import read_ground
from jobs.lists import FittedModel, to_model
from jobs.steps import Night, start_night
from jobs.training import new_model

DOMAIN = "shop"
SECONDS_BETWEEN_EVENTS = 3600
FIRST_DAY = 1_700_000_000


@dataclass(frozen=True)
class Shape:
    """What all the sequence models have in common, by what it decides of their speed."""

    width: int
    layers: int
    heads: int
    history: int  # events that the encoder sees


@dataclass(frozen=True)
class Scene:
    """A prepared run with a model that nothing has trained: weights change no one's speed."""

    settings: Settings
    night: Night
    spark: SparkSession
    models: list[FittedModel]


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


def job_settings(folder: Path, *, n: int, shape: Shape, driver_memory: str) -> Settings:
    """One domain, nothing held out.

    The log is small, but who ranks in the JVM, as Spark ALS does, has a long loop: that gets both compilers.
    """
    return read_config(DEFAULTS, overrides={
        "lake": {"path": str(folder / "lake")},
        "spark": {"driver_memory": driver_memory, "options": {"spark.driver.defaultJavaOptions": ""}},
        "domains": {DOMAIN: {"path": str(folder / "events.parquet"), "format": "parquet"}},
        "split": {"test_days": 0, "valid_days": 0},
        "train": {"purposes": []},
        "sequences": {"max_len": shape.history},
        "model": {"width": shape.width, "layers": shape.layers, "heads": shape.heads},
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
    """Write the users for the workers, and where our model lies."""
    where = {c.RUN_ID: scene.night.run_id, c.PURPOSE: c.SERVE}
    sequences, histories = (
        read_arrow(scene.night.lake, table, where=where, columns=[c.USER_NUM, *names]).sort_by(c.USER_NUM)
        for table, names in ((t.SEQUENCES, [c.LENGTH, *SEQUENCE_COLUMNS]), (t.HISTORIES, [c.ITEM_NUMS]))
    )
    lists = {name: as_matrix(sequences[name]) for name in SEQUENCE_COLUMNS}
    seen_US = as_matrix(histories[c.ITEM_NUMS])
    np.savez(folder / "users.npz", **lists, **{c.SEEN: seen_US})
    (folder / "model").write_text(scene.night.lake.at(scene.models[0].location), encoding="utf-8")
    (folder / "candidates").write_text(
        scene.night.lake.at(candidates_location(scene.night.run_id, c.SERVE)), encoding="utf-8"
    )
    known = lists[c.ITEM_NUMS][:, : sequences[c.LENGTH][0].as_py()]  # everyone has as many events
    pq.write_table(
        pa.table({"user_id": sequences[c.USER_NUM], "item_id": as_lists(known - 1), "seen_ids": as_lists(seen_US - 1)}),
        folder / "histories.parquet",
    )
    save_interactions(scene, folder / "interactions.parquet")


def save_interactions(scene: Scene, file: Path) -> None:
    """Write the events as a table with a row for each."""
    names = [c.USER_NUM, c.ITEM_NUM, c.WEIGHT, c.EVENT_TIME]
    rows = read_arrow(scene.night.lake, t.SPLIT_INTERACTIONS, where={c.RUN_ID: scene.night.run_id}, columns=names)
    pq.write_table(
        pa.table({
            "user_id": rows[c.USER_NUM], "item_id": pc.subtract(rows[c.ITEM_NUM], 1), "weight": rows[c.WEIGHT],
            "datetime": rows[c.EVENT_TIME].cast(pa.timestamp("us")),
        }),
        file,
    )  # fmt: skip


def as_lists(matrix: npt.NDArray[np.int64]) -> pa.ListArray:
    """Rows as lists."""
    return pa.ListArray.from_arrays(np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32), matrix.ravel())


def as_matrix(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Lists of one length as rows."""
    flat: npt.NDArray[np.int64] = pc.list_flatten(lists).to_numpy()
    return flat.reshape(len(lists), -1)
