"""Generated Parquet files in, rows per second of the feed and of plain pyarrow out, as a table and as JSON.

python benchmarks/feed.py --out benchmarks/results/feed.json
"""

import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from crossrec_core.tensors.feed import read_batches
from crossrec_core.tensors.petastorm_arrow import install

SCALARS = ("user_num", "domain_num", "split_num", "weight")
LENGTH = 50
Batches = Iterator[dict[str, Tensor]]


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/feed.json"),
    rows: Annotated[int, typer.Option(help="rows in all files together")] = 200_000,
    files: Annotated[int, typer.Option(help="number of files")] = 4,
    row_group_rows: Annotated[int, typer.Option(help="rows per row group")] = 10_000,
    batch_size: Annotated[int, typer.Option(help="rows per batch")] = 256,
    threads: Annotated[int, typer.Option(help="reader threads of the feed")] = 2,
    repetitions: Annotated[int, typer.Option(min=5, help="timed passes of each reader, alternating")] = 7,
) -> None:
    """Time one pass over the same files by each reader, in turns, and print medians."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # from Petastorm alone
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), rows=rows, files=files, row_group_rows=row_group_rows)
        readers: dict[str, Callable[[], Batches]] = {
            "feed, shuffled": lambda: from_feed(paths, batch_size=batch_size, threads=threads, shuffle=True),
            "feed, in order": lambda: from_feed(paths, batch_size=batch_size, threads=threads, shuffle=False),
            "petastorm alone": lambda: from_petastorm(paths, batch_size=batch_size, threads=threads),
            "pyarrow.dataset": lambda: from_pyarrow(paths, batch_size=batch_size),
        }
        passes = {name: partial(read_all, reader, rows=rows) for name, reader in readers.items()}
        seconds = time_in_turns(passes, repetitions=repetitions, untimed=1)
    results = summarise(seconds, rows=rows)
    print_table(results)
    write_report(
        out,
        packages=["pyarrow", "petastorm", "numpy", "torch"],
        settings={"rows": rows, "files": files, "row_group_rows": row_group_rows, "list_length": LENGTH,
                  "batch_size": batch_size, "threads": threads, "repetitions": repetitions},
        seconds=seconds,
        results=results,
    )  # fmt: skip


def write_files(folder: Path, *, rows: int, files: int, row_group_rows: int) -> list[str]:
    """Write ``rows`` rows of one list column [LENGTH] and four scalar columns, evenly over ``files`` files."""
    rng = np.random.default_rng(0)
    paths: list[str] = []
    for numbers in np.array_split(np.arange(rows), files):
        items = pa.array(rng.integers(0, 50_000, len(numbers) * LENGTH), pa.int64())
        offsets = pa.array(np.arange(len(numbers) + 1) * LENGTH, pa.int32())
        columns: dict[str, Any] = {name: pa.array(rng.integers(0, 1000, len(numbers))) for name in SCALARS[1:3]}
        columns["user_num"] = pa.array(numbers)
        columns["weight"] = pa.array(rng.random(len(numbers), dtype=np.float32))
        columns["items"] = pa.ListArray.from_arrays(offsets, items)
        table = pa.table(columns)
        paths.append(str(folder / f"part-{len(paths):03}.parquet"))
        pq.write_table(table, paths[-1], row_group_size=row_group_rows)
    return paths


def from_feed(paths: list[str], *, batch_size: int, threads: int, shuffle: bool) -> Batches:
    """The feed under test."""
    columns = ("items", *SCALARS)
    return read_batches(
        paths, columns=columns, batch_size=batch_size, seed=0, epoch=0, shuffle=shuffle, reader_threads=threads
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


def read_all(reader: Callable[[], Batches], *, rows: int) -> None:
    """One full pass, refused unless it gives all rows."""
    seen = sum(len(batch["user_num"]) for batch in reader())
    assert seen == rows, f"{seen} rows of {rows}"


def summarise(seconds: dict[str, list[float]], *, rows: int) -> dict[str, dict[str, float]]:
    """Median seconds, rows per second, and seconds as a multiple of plain pyarrow's."""
    medians = {name: statistics.median(passes) for name, passes in seconds.items()}
    floor = medians["pyarrow.dataset"]
    return {
        name: {"median_s": median, "rows_per_s": round(rows / median), "times_pyarrow": round(median / floor, 2)}
        for name, median in medians.items()
    }


def print_table(results: dict[str, dict[str, float]]) -> None:
    """One line per reader."""
    typer.echo(f"{'reader':<18}{'median s':>10}{'rows/s':>12}{'x pyarrow':>11}")
    for name, row in results.items():
        typer.echo(f"{name:<18}{row['median_s']:>10.3f}{row['rows_per_s']:>12,.0f}{row['times_pyarrow']:>11.2f}")


if __name__ == "__main__":
    typer.run(main)
