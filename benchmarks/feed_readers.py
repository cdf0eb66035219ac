"""Generated Parquet files, and those who read them in this process: column -> tensor batches out (IO)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from torch import Tensor

from crossrec_core.tensors.inputs.feed import read_batches
from crossrec_core.tensors.inputs.petastorm_arrow import install

SCALARS = ("user_num", "domain_num", "split_num", "weight")
LENGTH = 50
Batches = Iterator[dict[str, Tensor]]


def write_files(folder: Path, *, rows: int, files: int, row_group_rows: int) -> list[str]:
    """Write ``rows`` rows of one list column [LENGTH] and four scalar columns, evenly over ``files`` files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths: list[str] = []
    for numbers in np.array_split(np.arange(rows), files):
        items = pa.array(rng.integers(0, 50_000, len(numbers) * LENGTH), pa.int64())
        offsets = pa.array(np.arange(len(numbers) + 1) * LENGTH, pa.int32())
        columns: dict[str, Any] = {name: pa.array(rng.integers(0, 1000, len(numbers))) for name in SCALARS[1:3]}
        columns["user_num"] = pa.array(numbers)
        columns["weight"] = pa.array(rng.random(len(numbers), dtype=np.float32))
        columns["items"] = pa.ListArray.from_arrays(offsets, items)
        paths.append(str(folder / f"part-{len(paths):04}.parquet"))
        pq.write_table(pa.table(columns), paths[-1], row_group_size=row_group_rows)
    return paths


def from_feed(paths: list[str], *, batch_size: int, threads: int, shuffle: bool, epoch: int = 0) -> Batches:
    """The feed under test."""
    columns = ("items", *SCALARS)
    return read_batches(
        paths, columns=columns, batch_size=batch_size, seed=0, epoch=epoch, shuffle=shuffle, reader_threads=threads
    )


def from_petastorm(paths: list[str], *, batch_size: int, threads: int) -> Batches:
    """Petastorm's reader and loader with nothing of ours but what lets them run: no seed, no order."""
    install()
    from petastorm.pytorch import BatchedDataLoader
    from petastorm.reader import make_batch_reader

    reader = make_batch_reader([f"file://{path}" for path in paths], workers_count=threads, shuffle_row_groups=False)
    with BatchedDataLoader(reader, batch_size=batch_size) as batches:
        yield from batches


def from_pyarrow(paths: list[str], *, batch_size: int) -> Batches:
    """The floor: pyarrow's scanner in file order, without shuffling, sharding or checks."""
    for batch in ds.dataset(paths).to_batches(columns=["items", *SCALARS], batch_size=batch_size):
        items: Any = batch.column("items")
        arrays = {name: batch.column(name).to_numpy() for name in SCALARS}
        arrays["items"] = items.flatten().to_numpy().reshape(-1, LENGTH)
        yield {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
