"""Raw vectors and events in, the bounded arrays that whitening is fitted on out."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.items.item_graph import to_edges
from crossrec_core.settings import Settings
from crossrec_core.tensors.texts.whitening import Edges
from jobs.store import Store

MAX_EDGES = 1_000_000


@dataclass(frozen=True)
class Sample:
    """Training items and their raw vectors."""

    nums_N: np.ndarray  # int64
    raw_NW: np.ndarray  # float32


def read_sample(picked: DataFrame) -> Sample:
    """Bring the picked rows (item_num, vector) to the driver, in their order."""
    rows = picked.select(c.ITEM_NUM, c.VECTOR).toArrow()
    flat = pc.list_flatten(rows[c.VECTOR].combine_chunks()).to_numpy(zero_copy_only=False)
    width = len(flat) // max(rows.num_rows, 1)
    return Sample(rows[c.ITEM_NUM].to_numpy().astype(np.int64), flat.astype(np.float32).reshape(rows.num_rows, width))


def read_edges(settings: Settings, store: Store, nums_N: np.ndarray) -> Edges:
    """Items of the sample that follow each other in training events, as rows of the sample."""
    events = store.read(t.SPLIT_INTERACTIONS).where(F.col(c.SPLIT) == c.TRAIN)
    edges = to_edges(events, max_history=settings.baselines.max_history, max_edges=MAX_EDGES).toArrow()
    order_N = np.argsort(nums_N)
    ends = [edges[name].to_numpy().astype(np.int64) for name in (c.ITEM_NUM, c.NEXT_ITEM_NUM)]
    rows = [order_N[np.searchsorted(nums_N[order_N], end).clip(max=len(nums_N) - 1)] for end in ends]
    known_P = (nums_N[rows[0]] == ends[0]) & (nums_N[rows[1]] == ends[1])
    return Edges(rows[0][known_P], rows[1][known_P], edges[c.WEIGHT].to_numpy()[known_P])
