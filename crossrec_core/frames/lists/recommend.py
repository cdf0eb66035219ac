"""Users and an injected scorer in, what it says of them out. Knows no model: only something to call to get a scorer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.spark.contracts import conform
from crossrec_core.tables import PAIR_PROBABILITIES

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[["pd.DataFrame"], "pd.DataFrame"]
WriteLists = Callable[[Iterable["pd.DataFrame"]], "pd.DataFrame"]

SCORED = (
    f"{c.USER_ID} string, {c.MODEL_INDEX} int, {c.DOMAIN_NUM} int, {c.RANK} int, {c.ITEM_NUM} bigint, "
    f"{c.SCORE} double, {c.PROBABILITY} double, {c.PATH_CODE} tinyint"
)
SCORED_PAIRS = (
    f"{c.USER_ID} string, {c.MODEL_INDEX} int, {c.DOMAIN_NUM} int, {c.ITEM_NUM} bigint, {c.LABEL} int, "
    f"{c.PROBABILITY} double"
)

WRITTEN = "path string, size bigint, num_rows bigint"


def recommend(
    users: DataFrame, get_scorer: Callable[[], Score], *, batch_users: int, schema: str = SCORED
) -> DataFrame:
    """Score every user in one pass, without a shuffle: rows of ``schema``.

    ``get_scorer`` is pickled, and called once per task; it is up to it to load once per Python worker. A batch holds at
    most ``batch_users`` users; batches change memory, never the result.
    """

    def score_all(frames: "Iterator[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
        score = get_scorer()
        for batch in _batches(frames, batch_users):
            yield score(batch)

    return users.mapInPandas(score_all, schema)


def write_lists(users: DataFrame, get_writer: Callable[[], WriteLists], *, batch_users: int) -> DataFrame:
    """As ``recommend``, for lists that the workers write themselves: rows of ``WRITTEN``, one per file.

    A file has the users of one task in the order of their ids.
    """

    def write_all(frames: "Iterator[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
        files = get_writer()(_batches(frames, batch_users))
        if len(files):  # a task may have no users, and a frame of no files has no types
            yield files

    return users.sortWithinPartitions(c.USER_ID).mapInPandas(write_all, WRITTEN)


def to_pair_probabilities(
    scored: DataFrame, item_ids: DataFrame, *, models: Sequence[str], domains: dict[int, str], run_id: str, purpose: str
) -> DataFrame:
    """Name the scored pairs: the columns of ``pair_probabilities``."""
    domain_names = F.create_map(*[F.lit(part) for number, name in domains.items() for part in (number, name)])
    named = (
        scored.join(item_ids.select(c.ITEM_NUM, c.ITEM_ID), on=c.ITEM_NUM, how="inner")
        .withColumn(c.MODEL, F.array(*map(F.lit, models))[F.col(c.MODEL_INDEX)])
        .withColumn(c.DOMAIN, domain_names[F.col(c.DOMAIN_NUM)])
        .withColumn(c.RUN_ID, F.lit(run_id))
        .withColumn(c.PURPOSE, F.lit(purpose))
        .drop(c.ITEM_NUM, c.MODEL_INDEX, c.DOMAIN_NUM)
    )
    return conform(named, PAIR_PROBABILITIES)


def _batches(frames: "Iterator[pd.DataFrame]", batch_users: int) -> "Iterator[pd.DataFrame]":
    for frame in frames:
        for start in range(0, len(frame), batch_users):
            yield frame.iloc[start : start + batch_users]
