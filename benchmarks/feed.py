"""Generated Parquet files in, rows per second of the feed and of others out, as a table and as JSON.

All read the same files, in turns: one pass, and the first batch of a thousand files. Beside it: what this process holds
after each epoch of the feed, and that an epoch read again is the same. Outside packages have processes of their own.

python benchmarks/feed.py --out benchmarks/results/feed.json
python benchmarks/feed.py --no-peers                          # without outside environments
"""

import gc
import hashlib
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.feed_readers import LENGTH, Batches, from_feed, from_petastorm, from_pyarrow, write_files
from benchmarks.peers.environments import peer_python
from benchmarks.peers.registry import PETASTORM, REPLAY_FEED, Package
from benchmarks.report import write_report
from benchmarks.timing import time_in_turns
from benchmarks.workers import Command, workers
from crossrec_core.errors import CrossRecError

FLOOR = "pyarrow.dataset"
PEERS: dict[str, Package] = {"petastorm, pyarrow 14": PETASTORM, "RePlay ParquetModule": REPLAY_FEED}
FIRST_BATCH = 1  # a row more than none: the first batch holds it


def main(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("benchmarks/results/feed.json"),
    rows: Annotated[int, typer.Option(help="rows in all files together")] = 200_000,
    files: Annotated[int, typer.Option(help="number of files")] = 4,
    many_files: Annotated[int, typer.Option(help="files of the same rows from which the first batch comes")] = 1000,
    row_group_rows: Annotated[int, typer.Option(help="rows per row group")] = 10_000,
    batch_size: Annotated[int, typer.Option(help="rows per batch")] = 256,
    threads: Annotated[int, typer.Option(help="reader threads of the feed and of Petastorm")] = 2,
    epochs: Annotated[int, typer.Option(min=3, help="of the feed, after each of which memory is measured")] = 20,
    repetitions: Annotated[int, typer.Option(min=5, help="timed passes of each reader, alternating")] = 7,
    peers: Annotated[bool, typer.Option(help="time outside packages too")] = True,
    environments: Annotated[Path, typer.Option(help="of other packages, made once")] = Path(".cache/peers"),
) -> None:
    """Time one pass and the first batch of many files by each reader, in turns, and print medians."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # from Petastorm alone
    chosen = PEERS if peers else {}
    pythons = {name: peer_python(each.name, each.requirements, environments) for name, each in chosen.items()}
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name, "few"), Path(name, "many")
        paths = write_files(few, rows=rows, files=files, row_group_rows=row_group_rows)
        write_files(many, rows=rows, files=many_files, row_group_rows=row_group_rows)
        race = partial(time_readers, batch_size=batch_size, threads=threads, pythons=pythons, repetitions=repetitions)
        seconds = race(few, rows=rows)
        first = race(many, rows=FIRST_BATCH)
        epoch = partial(from_feed, paths, batch_size=batch_size, threads=threads, shuffle=True)
        memory = memory_of_epochs(epoch, epochs=epochs)
        check_same(epoch)
    results = summarise(seconds, first, rows=rows)
    print_table(results)
    typer.echo(f"MiB after epoch 2: {memory[1]:,.0f}, after epoch {epochs}: {memory[-1]:,.0f}")
    write_report(
        out,
        packages=["pyarrow", "petastorm", "numpy", "torch"],
        peers=chosen.values(),
        settings={"rows": rows, "files": files, "many_files": many_files, "row_group_rows": row_group_rows,
                  "list_length": LENGTH, "batch_size": batch_size, "threads": threads, "repetitions": repetitions},
        seconds=seconds,
        first_batch_seconds=first,
        results=results,
        mib_after_epoch=memory,
    )  # fmt: skip


def time_readers(
    folder: Path, *, rows: int, batch_size: int, threads: int, pythons: Mapping[str, Path], repetitions: int
) -> dict[str, list[float]]:
    """Seconds of each reader until ``rows`` rows of the folder's files have come."""
    paths = [str(file) for file in sorted(folder.glob("*.parquet"))]
    own: dict[str, Callable[[], Batches]] = {
        "feed, shuffled": partial(from_feed, paths, batch_size=batch_size, threads=threads, shuffle=True),
        "feed, in order": partial(from_feed, paths, batch_size=batch_size, threads=threads, shuffle=False),
        "petastorm alone": partial(from_petastorm, paths, batch_size=batch_size, threads=threads),
        FLOOR: partial(from_pyarrow, paths, batch_size=batch_size),
    }
    turns: dict[str, Callable[[], object]] = {name: partial(read, reader, rows=rows) for name, reader in own.items()}
    with ExitStack() as stack:
        for name, python in pythons.items():
            command = Command(python, PEERS[name].worker, (threads, rows))
            turns[name] = stack.enter_context(workers([command], folder, batch_size))
        return time_in_turns(turns, repetitions=repetitions, untimed=1)


def read(reader: Callable[[], Batches], *, rows: int) -> None:
    """Read until so many rows have come.

    Raises:
        CrossRecError: there were fewer.
    """
    seen, batches = 0, reader()
    for batch in batches:
        seen += len(batch["user_num"])
        if seen >= rows:
            break
    if seen < rows:
        raise CrossRecError(f"{seen} rows came; expected {rows}")


def memory_of_epochs(epoch: Callable[..., Batches], *, epochs: int) -> list[float]:
    """MiB that this process holds after each epoch."""
    found = []
    for number in range(epochs):
        for _ in epoch(epoch=number):
            pass
        gc.collect()
        found.append(round(psutil.Process().memory_info().rss / 2**20, 1))
    return found


def check_same(epoch: Callable[..., Batches]) -> None:
    """An epoch read again has the same batches, the next one has others.

    Raises:
        CrossRecError: it is not so.
    """
    first, again, other = (digest(epoch(epoch=number)) for number in (0, 0, 1))
    if first != again or first == other:
        raise CrossRecError("feed: batches do not follow from seed and epoch alone")


def digest(batches: Batches) -> str:
    """One hash of all batches, in order."""
    found = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            found.update(batch[name].numpy().tobytes())
    return found.hexdigest()


def summarise(
    seconds: Mapping[str, list[float]], first: Mapping[str, list[float]], *, rows: int
) -> dict[str, dict[str, float]]:
    """Median seconds, rows per second, seconds as a multiple of plain pyarrow's, and seconds to the first batch."""
    medians = {name: statistics.median(passes) for name, passes in seconds.items()}
    return {
        name: {
            "median_s": median, "rows_per_s": round(rows / median), "times_pyarrow": round(median / medians[FLOOR], 2),
            "first_batch_s": round(statistics.median(first[name]), 3),
        }
        for name, median in medians.items()
    }  # fmt: skip


def print_table(results: Mapping[str, Mapping[str, float]]) -> None:
    """One line per reader."""
    typer.echo(f"{'reader':<24}{'median s':>10}{'rows/s':>12}{'x pyarrow':>11}{'first batch s':>15}")
    for name, row in results.items():
        rates = f"{row['median_s']:>10.3f}{row['rows_per_s']:>12,.0f}{row['times_pyarrow']:>11.2f}"
        typer.echo(f"{name:<24}{rates}{row['first_batch_s']:>15.3f}")


if __name__ == "__main__":
    typer.run(main)
