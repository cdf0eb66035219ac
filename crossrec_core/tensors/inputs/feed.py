"""Live Parquet files in, batches of tensors out, through Petastorm's batch reader and its PyTorch loader (IO).

    files -> row groups of this rank, permuted -> make_batch_reader (threads) -> tables, put back in order
          -> arrays -> seeded shuffle across row groups -> cut or wrapped to the ranks' length -> BatchedDataLoader

Petastorm reads, in threads, and cuts the batches. Two things are ours, because Petastorm has no seed for them: its
threads hand over row groups as they finish, and its shuffling buffer draws from torch's global generator. So tables
are put back in the order in which they were asked for, and rows are shuffled before they reach the loader.

In memory at any time: ``reader_threads + 2`` row groups, one more as arrays, ``shuffle_buffer_rows`` rows, and on a
rank with fewer rows than others at most one row group that it repeats.
"""

import math
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.inputs.chunks import Chunk, fit_to, shuffle_rows, to_array
from crossrec_core.tensors.inputs.petastorm_arrow import PIECE_KEY, check_reader, install
from crossrec_core.tensors.inputs.row_groups import (
    LiveFiles,
    RowGroup,
    column_dtypes,
    list_row_groups,
    open_file,
    open_live_files,
    share_row_groups,
)

_EXTRA_ROW_GROUPS = 2  # Petastorm reads at most this many row groups more than it has threads


def read_batches(
    files: Sequence[str],
    *,
    columns: Sequence[str],
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    rank: int = 0,
    num_ranks: int = 1,
    reader_threads: int = 2,
    shuffle_buffer_rows: int = 50_000,
    drop_last: bool = False,
) -> Generator[dict[str, Tensor]]:
    """Read one epoch of ``files``: column -> int64 or float32 tensor [B], or [B, L] for lists of equal length L.

    ``files`` are the live files of a table version: paths or URLs that fsspec knows; nothing else in their folders is
    read, and folder names (``run_id=...``) are no columns. ``seed``, ``epoch``, ``rank`` and the other arguments but
    ``reader_threads`` determine every batch. Each rank reads row groups of its own and yields ``count_steps`` batches,
    of the same sizes at the same step; a rank with fewer rows than the fullest repeats its own first rows of the epoch.
    Closing the iterator early stops and joins the reader's threads.

    Raises CrossRecError, in one line, for what ``open_live_files``, ``column_dtypes`` and ``share_row_groups`` refuse,
    on the call; for nulls and lists of unequal length, and for a broken row group, when it is read.
    """
    if min(batch_size, num_ranks, reader_threads, shuffle_buffer_rows) < 1:
        raise CrossRecError("feed: batch_size, num_ranks, reader_threads and shuffle_buffer_rows must be at least 1")
    if not 0 <= rank < num_ranks or min(seed, epoch) < 0:
        raise CrossRecError(f"feed: rank {rank} of {num_ranks}, seed {seed}, epoch {epoch}: expected 0 <= rank < ranks")
    install()
    live = open_live_files(files)
    shares = share_row_groups(list_row_groups(live), num_ranks)
    dtypes = column_dtypes(live, columns)
    rng = np.random.default_rng([seed, epoch, rank])
    share = [shares[rank][place] for place in rng.permutation(len(shares[rank]))] if shuffle else shares[rank]
    return _stream(
        live,
        share,
        dtypes,
        num_rows=_rows_per_rank(shares, batch_size=batch_size, drop_last=drop_last),
        batch_size=batch_size,
        reader_threads=reader_threads,
        shuffle_buffer_rows=shuffle_buffer_rows if shuffle else None,
        rng=rng,
    )


def count_rows(files: Sequence[str]) -> int:
    """The number of rows in ``files``, from their footers. Raises CrossRecError as ``open_live_files`` does."""
    return sum(sum(footer.rows_per_group) for footer in open_live_files(files).footers)


def count_steps(files: Sequence[str], *, batch_size: int, num_ranks: int = 1, drop_last: bool = False) -> int:
    """The number of batches that ``read_batches`` yields on every rank, from the footers of ``files``."""
    shares = share_row_groups(list_row_groups(open_live_files(files)), num_ranks)
    return math.ceil(_rows_per_rank(shares, batch_size=batch_size, drop_last=drop_last) / batch_size)


@dataclass(frozen=True)
class RowGroupFiles:
    """What Petastorm opens: file number k under the path ``/k``, so that no real path passes its URL parser."""

    live: LiveFiles

    def open(self, path: str, mode: str = "rb") -> Any:
        """Open for reading bytes."""
        return open_file(self.live.filesystem, self.live.footers[int(path.strip("/"))].path)


@dataclass(frozen=True)
class InOrder:
    """What a Petastorm reader asks for its next result: takes tables as threads finish them, gives them as asked for.

    Stands in for Petastorm's own, which gives them as they come, and makes one array per row of a list column.
    """

    live: LiveFiles
    dtypes: dict[str, np.dtype]
    pending: Iterator[RowGroup]  # in reading order
    consumed: Callable[[], None]  # lets Petastorm start on one more row group
    early: dict[str, pa.Table] = field(default_factory=dict)
    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a row, by column, as first seen
    batched_output = True

    def read_next(self, workers_pool: Any, schema: Any, ngram: None) -> Any:
        """The next row group as Petastorm's named tuple of arrays; StopIteration after the last one."""
        row_group = next(self.pending)
        piece = _piece_path(row_group)
        while piece not in self.early:
            table = workers_pool.get_results()
            self.early[table.schema.metadata[PIECE_KEY].decode()] = table
        table = self.early.pop(piece)
        self.consumed()
        path = self.live.footers[row_group.file].path
        return schema.make_namedtuple(**{name: self._to_array(table, name, path) for name in self.dtypes})

    def _to_array(self, table: pa.Table, name: str, path: str) -> np.ndarray:
        where = f"{path}: column {name}"
        values = to_array(table.column(name), self.dtypes[name], where=where)
        expected = self.lengths.setdefault(name, values.shape[1:])
        if values.shape[1:] != expected:
            raise CrossRecError(
                f"{where}: lists of {values.shape[1]} values, {expected[0]} in the row groups before; "
                f"pad them when writing"
            )
        return values


@dataclass(frozen=True)
class ChunkReader:
    """As much of a Petastorm reader as BatchedDataLoader uses."""

    schema: Any
    chunks: Iterator[Chunk]
    batched_output = True

    def __iter__(self) -> Iterator[Any]:
        return (self.schema.make_namedtuple(**chunk) for chunk in self.chunks)


def _stream(
    live: LiveFiles,
    share: Sequence[RowGroup],
    dtypes: dict[str, np.dtype],
    *,
    num_rows: int,
    batch_size: int,
    reader_threads: int,
    shuffle_buffer_rows: int | None,
    rng: np.random.Generator,
) -> Generator[dict[str, Tensor]]:
    """Yield the batches of one rank; threads start with the first batch and end with the last, or on close."""
    from petastorm.pytorch import BatchedDataLoader  # can be imported only once install() has run

    with _open_reader(live, share, dtypes, reader_threads) as reader:
        chunks: Iterator[Chunk] = (row._asdict() for row in reader)
        if shuffle_buffer_rows is not None:
            chunks = shuffle_rows(chunks, buffer_rows=shuffle_buffer_rows, rng=rng)
        chunks = fit_to(chunks, own_rows=sum(group.num_rows for group in share), num_rows=num_rows)
        source = ChunkReader(reader.schema, chunks)
        for batch in BatchedDataLoader(source, batch_size=batch_size, transform_fn=_to_tensor):
            yield {name: batch[name] for name in dtypes}


@contextmanager
def _open_reader(
    live: LiveFiles, share: Sequence[RowGroup], dtypes: dict[str, np.dtype], reader_threads: int
) -> Iterator[Any]:
    """A Petastorm reader of the row groups ``share``, in that order; its threads have ended when the block ends."""
    from petastorm.reader import make_batch_reader

    in_flight = reader_threads + _EXTRA_ROW_GROUPS
    with warnings.catch_warnings():
        # Petastorm looks at all columns of the file before it projects, and warns of types and names we never ask for.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"petastorm\.unischema")
        reader = make_batch_reader(
            [f"file://{_piece_path(row_group)}" for row_group in share],
            schema_fields=[re.escape(name) for name in dtypes],
            reader_pool_type="thread",
            workers_count=reader_threads,
            results_queue_size=2 * in_flight,  # a result and its receipt: never full, so that no thread hangs on stop
            shuffle_row_groups=False,
            num_epochs=1,
            filesystem=RowGroupFiles(live),
        )
    try:
        check_reader(reader)
        # Row groups that overtake another must not earn Petastorm's leave to read on: memory would have no bound.
        consumed, reader.ventilator.processed_item = reader.ventilator.processed_item, _wait
        reader._results_queue_reader = InOrder(live, dtypes, iter(share), consumed)
        yield reader
    finally:
        reader.stop()
        reader.join()


def _wait() -> None:
    """Takes the place of Petastorm's count of finished row groups."""


def _piece_path(row_group: RowGroup) -> str:
    return f"/{row_group.file}!{row_group.index}"


def _rows_per_rank(shares: Sequence[Sequence[RowGroup]], *, batch_size: int, drop_last: bool) -> int:
    """The rows that every rank yields: those of the fullest rank, or as many whole batches as fit into them."""
    most = max(sum(row_group.num_rows for row_group in share) for share in shares)
    return most - most % batch_size if drop_last else most


def _to_tensor(values: np.ndarray) -> Tensor:
    """Share memory where torch may write to it; arrays that are still Arrow's are copied."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())
