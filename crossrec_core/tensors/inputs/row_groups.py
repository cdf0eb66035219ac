"""Live Parquet files in, their row groups out, sized by their footers and shared among ranks (IO)."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from crossrec_core.errors import CrossRecError

_FOOTER_THREADS = 8


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    path: str
    schema: pa.Schema
    rows_per_group: tuple[int, ...]


@dataclass(frozen=True)
class LiveFiles:
    """The files to read, in the order of their paths, whatever order they were listed in."""

    filesystem: AbstractFileSystem
    footers: tuple[Footer, ...]


@dataclass(frozen=True)
class RowGroup:
    """One row group that has rows."""

    file: int  # place in LiveFiles.footers
    index: int  # place in the file
    num_rows: int


def open_live_files(files: Sequence[str]) -> LiveFiles:
    """Read the footers of ``files`` (paths or URLs that fsspec knows, all of one filesystem).

    Raises CrossRecError for an empty list, a file named twice, two filesystems, and a file that is no Parquet file.
    """
    if not files:
        raise CrossRecError("feed: the list of live files is empty; run the step that writes the table first")
    try:
        resolved = [url_to_fs(str(file)) for file in files]
    except (ImportError, ValueError) as error:
        raise CrossRecError(f"{files[0]}: no filesystem for this address ({error}); install its driver") from error
    filesystem = resolved[0][0]
    paths = sorted(path for _, path in resolved)
    if any(other != filesystem for other, _ in resolved):
        raise CrossRecError(f"{files[0]}: the other live files are on another filesystem; read one table at a time")
    if len(set(paths)) < len(paths):
        twice = next(path for path, after in pairwise(paths) if path == after)
        raise CrossRecError(f"{twice}: listed twice, its rows would count double; list each live file once")
    with ThreadPoolExecutor(_FOOTER_THREADS) as threads:
        footers = tuple(threads.map(lambda path: _read_footer(filesystem, path), paths))
    return LiveFiles(filesystem, footers)


def open_file(filesystem: AbstractFileSystem, path: str) -> Any:
    """Open ``path`` for reading bytes, with a position of its own."""
    source = filesystem.open(path, "rb")
    if isinstance(source, io.BytesIO):  # fsspec gives every opener of a memory file the same object
        return pa.BufferReader(source.getvalue())
    return source


def list_row_groups(live: LiveFiles) -> list[RowGroup]:
    """All row groups with rows, file by file. Raises CrossRecError when there is none."""
    row_groups = [
        RowGroup(file, index, num_rows)
        for file, footer in enumerate(live.footers)
        for index, num_rows in enumerate(footer.rows_per_group)
        if num_rows > 0
    ]
    if not row_groups:
        raise CrossRecError(
            f"{live.footers[0].path}: {len(live.footers)} live files hold no rows; check the step that wrote them"
        )
    return row_groups


def share_row_groups(row_groups: Sequence[RowGroup], num_ranks: int) -> list[list[RowGroup]]:
    """Give each rank whole row groups of about equal rows: the largest first, each to the rank with the fewest rows.

    Ties go to the lower rank and the earlier row group (longest processing time first, Graham 1969). No rank gets
    fewer rows than the fullest one less one row group. Raises CrossRecError when there are more ranks than row groups.
    """
    if num_ranks > len(row_groups):
        raise CrossRecError(
            f"feed: {num_ranks} ranks but {len(row_groups)} row groups; use fewer ranks or write smaller row groups"
        )
    shares: list[list[RowGroup]] = [[] for _ in range(num_ranks)]
    loads = [0] * num_ranks
    for row_group in sorted(row_groups, key=lambda group: (-group.num_rows, group.file, group.index)):
        rank = loads.index(min(loads))
        shares[rank].append(row_group)
        loads[rank] += row_group.num_rows
    return [sorted(share, key=lambda group: (group.file, group.index)) for share in shares]


def column_dtypes(live: LiveFiles, columns: Sequence[str]) -> dict[str, np.dtype]:
    """The tensor type of each column: int64 for integers and booleans, float32 for floats, and for lists of these.

    Looks at the files that have rows; there must be one (``list_row_groups`` sees to it). Raises CrossRecError, naming
    file and column, for a column that is missing, of another type, or not the same kind in all files.
    """
    if not columns or len(set(columns)) < len(columns):
        raise CrossRecError(f"feed: columns {list(columns)} are none or named twice; name each column once")
    first, *others = [footer for footer in live.footers if sum(footer.rows_per_group)]
    dtypes = {name: _dtype(first, name) for name in columns}
    for footer in others:
        for name in columns:
            if _dtype(footer, name) != dtypes[name]:
                raise CrossRecError(
                    f"{footer.path}: column {name} has type {footer.schema.field(name).type}, expected "
                    f"{dtypes[name]} as in {first.path}; write the table again"
                )
    return dtypes


def _read_footer(filesystem: AbstractFileSystem, path: str) -> Footer:
    try:
        with open_file(filesystem, path) as source:
            metadata = pq.ParquetFile(source).metadata
    except (OSError, pa.ArrowException) as error:
        seen = (str(error) or type(error).__name__).splitlines()[0]
        raise CrossRecError(f"{path}: not a readable Parquet file ({seen}); write the table again") from error
    rows_per_group = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    return Footer(path, metadata.schema.to_arrow_schema(), rows_per_group)


def _dtype(footer: Footer, name: str) -> np.dtype:
    if name not in footer.schema.names:
        raise CrossRecError(f"{footer.path}: column {name} is missing, the file has {', '.join(footer.schema.names)}")
    seen = footer.schema.field(name).type
    value = seen.value_type if pa.types.is_list(seen) else seen
    # Petastorm does not know the wider unsigned types and half floats.
    if pa.types.is_signed_integer(value) or pa.types.is_uint8(value) or pa.types.is_boolean(value):
        return np.dtype(np.int64)
    if pa.types.is_float32(value) or pa.types.is_float64(value):
        return np.dtype(np.float32)
    raise CrossRecError(
        f"{footer.path}: column {name} has type {seen}, expected integers, floats, booleans or a list of these; "
        f"leave it out of the columns or store its number"
    )
