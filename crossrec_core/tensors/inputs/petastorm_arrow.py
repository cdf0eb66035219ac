"""Petastorm in, the same Petastorm on today's pyarrow and numpy out: the parts it misses, in its own modules only.

Petastorm 0.12.1 reads Parquet through ``ParquetDataset`` and ``ParquetDatasetPiece`` of old pyarrow and names numpy's
types as numpy 1 did. ``install`` puts stand-ins for these, on fsspec, where Petastorm's modules look them up. pyarrow,
numpy and everything else stay as they are, but for two stub modules that Petastorm imports by name.
"""

import importlib
import importlib.util
import inspect
import io
import logging
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq
from fsspec.core import OpenFile
from fsspec.implementations.local import LocalFileSystem

from crossrec_core.errors import CrossRecError

PIECE_KEY = b"crossrec.piece"  # in the Arrow schema's metadata: which piece a table was read from
READER_ARGUMENTS = (
    "dataset_url_or_urls", "schema_fields", "reader_pool_type", "workers_count", "results_queue_size",
    "shuffle_row_groups", "num_epochs", "filesystem",
)  # fmt: skip


@dataclass(frozen=True)
class OneRowGroup:
    """As much of a footer as Petastorm asks for, when a path names one row group; the file is opened for the schema."""

    piece: "ParquetDatasetPiece"
    num_row_groups: int = 1

    @property
    def schema(self) -> Any:
        """The file's Parquet schema."""
        return self.piece.read_footer().schema


@dataclass(frozen=True)
class ParquetDatasetPiece:
    """One file, or one row group of a file: the class of that name in old pyarrow, as far as Petastorm uses it."""

    path: str  # "FILE", or "FILE!3" for row group 3 only
    open_file_func: Callable[[str], Any]
    row_group: int = 0
    partition_keys: tuple[Any, ...] = ()

    def get_metadata(self) -> Any:
        """The footer: ``num_row_groups`` and ``schema``."""
        return OneRowGroup(self) if split_path(self.path)[1] is not None else self.read_footer()

    def read_footer(self) -> Any:
        """The footer of the whole file, as a pyarrow ``FileMetaData``."""
        with self.open_file_func(self.path) as source:
            return pq.ParquetFile(source).metadata

    def read(self, columns: Collection[str], partitions: None = None) -> pyarrow.Table:
        """Read this row group's ``columns``; the table's metadata says under ``PIECE_KEY`` where it came from.

        Raises CrossRecError when the bytes cannot be read as Parquet.
        """
        named = split_path(self.path)[1]
        row_group = self.row_group if named is None else named
        with self.open_file_func(self.path) as source:
            try:
                table = pq.ParquetFile(source).read_row_group(row_group, columns=sorted(columns), use_threads=False)
            except (OSError, pyarrow.ArrowException) as error:
                raise CrossRecError(
                    f"{getattr(source, 'path', self.path)}: row group {row_group} cannot be read "
                    f"({_first_line(error)}); write the file again"
                ) from error
        return table.replace_schema_metadata({PIECE_KEY: self.path.encode()})


@dataclass(frozen=True)
class PieceFiles:
    """Open the file that a piece's path names, on first use: Petastorm also opens files that it never reads."""

    filesystem: Any

    def open(self, path: str) -> OpenFile:
        """A context manager that gives the file, open for reading bytes."""
        return OpenFile(self.filesystem, split_path(path)[0])


class ParquetDataset:
    """A list of Parquet files: the class of that name in old pyarrow, as far as Petastorm uses it.

    There are no partitions: what a folder's name says (``run_id=...``) never becomes a column.
    """

    metadata = None
    common_metadata = None
    partitions = None

    def __init__(
        self,
        path_or_paths: str | Sequence[str],
        filesystem: Any = None,
        validate_schema: bool = False,
        metadata_nthreads: int = 1,
        filters: Any = None,
    ) -> None:
        """Raise CrossRecError for a folder (a single path) and for ``filters``, which would be silently ignored."""
        if isinstance(path_or_paths, str):
            raise CrossRecError(f"{path_or_paths}: a single path may be a folder; give a list of Parquet files")
        if filters:
            raise CrossRecError(f"Petastorm reader: filters {filters!r} are not supported; leave them out")
        self.paths = list(path_or_paths)
        self.fs = PieceFiles(filesystem)
        self.pieces = [ParquetDatasetPiece(path, self.fs.open) for path in self.paths]


class HadoopFileSystem:
    """What Petastorm's HDFS client derives from; never used, since files are opened by fsspec."""


def split_path(path: str) -> tuple[str, int | None]:
    """``"FILE!3"`` -> ``("FILE", 3)``; ``"FILE"`` -> ``("FILE", None)``."""
    named = re.fullmatch(r"(.*)!(\d+)", path)
    return (named[1], int(named[2])) if named else (path, None)


def install() -> None:
    """Make Petastorm work here; do nothing where pyarrow has the old parts. A second call changes nothing more.

    Raises CrossRecError, naming what is missing, when this Petastorm does not have the places to put the parts in.
    """
    if hasattr(pyarrow, "localfs") and hasattr(pq, "ParquetDatasetPiece"):
        return
    _add_stub("pyarrow.filesystem", {"LocalFileSystem": LocalFileSystem})
    _add_stub("pyarrow.hdfs", {"HadoopFileSystem": HadoopFileSystem})
    _check_fit()
    for module, name, part in _PARTS:
        setattr(importlib.import_module(module), name, part)


def check_reader(reader: Any) -> None:
    """Raise CrossRecError when a Petastorm reader lacks the two attributes that the feed replaces.

    Without this check another Petastorm would read on, in no certain order and with no bound on memory.
    """
    for owner, name in ((reader, "_results_queue_reader"), (getattr(reader, "ventilator", None), "processed_item")):
        if not hasattr(owner, name):
            raise _no_fit(f"its reader has no {name}")


def _add_stub(name: str, contents: dict[str, object]) -> None:
    if name in sys.modules or importlib.util.find_spec(name):
        return
    stub = ModuleType(name)
    vars(stub).update(contents)
    sys.modules[name] = stub


def _check_fit() -> None:
    """Raise one error that lists all that is missing."""
    missing = []
    for module, name in [(module, name) for module, name, _ in _PARTS] + _USED:
        try:
            found = hasattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise _no_fit(f"{module} cannot be imported: {_first_line(error)}") from error
        if not found:
            missing.append(f"{module}.{name}")
    if missing:
        raise _no_fit(f"missing {', '.join(missing)}")
    taken = inspect.signature(importlib.import_module("petastorm.reader").make_batch_reader).parameters
    unknown = [argument for argument in READER_ARGUMENTS if argument not in taken]
    if unknown:
        raise _no_fit(f"make_batch_reader does not take {', '.join(unknown)}")


def _no_fit(problem: str) -> CrossRecError:
    petastorm = getattr(sys.modules.get("petastorm"), "__version__", "?")
    return CrossRecError(
        f"petastorm {petastorm}, pyarrow {pyarrow.__version__}, numpy {np.__version__} do not fit together: {problem}; "
        f"install the versions in conf/constraints.txt"
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _view(module: ModuleType, extra: dict[str, object]) -> ModuleType:
    """A module that has ``extra`` and, for all other names, what ``module`` has; ``module`` itself stays as it is."""
    view = ModuleType(module.__name__)
    vars(view).update(extra, __getattr__=lambda name: getattr(module, name))
    return view


_PARQUET = _view(pq, {"ParquetDataset": ParquetDataset, "ParquetDatasetPiece": ParquetDatasetPiece})
_NUMPY = _view(np, {"unicode_": np.str_, "string_": np.bytes_})
_PARTS: list[tuple[str, str, object]] = [
    ("petastorm.reader", "pq", _PARQUET),
    ("petastorm.arrow_reader_worker", "pq", _PARQUET),
    ("petastorm.etl.dataset_metadata", "pq", _PARQUET),
    ("petastorm.unischema", "np", _NUMPY),
    ("petastorm.arrow_reader_worker", "np", _NUMPY),
    ("petastorm.fs_utils", "pyarrow", _view(pyarrow, {"localfs": LocalFileSystem()})),
    # The worker makes a ParquetFile beside each piece and never reads it: one open and one footer less.
    ("petastorm.arrow_reader_worker", "ParquetFile", lambda source: None),
    # Both print an error that is raised to the caller as well.
    ("petastorm.workers_pool.thread_pool", "sys", _view(sys, {"stderr": io.StringIO()})),
    ("petastorm.pytorch", "logger", logging.Logger("petastorm.pytorch", logging.CRITICAL)),
]
_USED = [
    ("petastorm.reader", "make_batch_reader"),
    ("petastorm.pytorch", "BatchedDataLoader"),
]
