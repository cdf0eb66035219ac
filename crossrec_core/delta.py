"""A table's live files in, one atomic commit out. The only module that writes through deltalake.

Spark and Arrow put Parquet files under ``<table>/write_id=.../``; nothing reads them until one commit adds them and
removes what they replace. A write that is killed before its commit leaves files that no version names; ``drop_runs``
sweeps them with the run they were for.
"""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake, plain_uri
from crossrec_core.tables import Table

WRITE_ID = "write_id"
NO_VERSION = -1  # of a table that was never written
Where = Mapping[str, str | Sequence[str]]

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "float": pa.float32(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "map<string,double>": pa.map_(pa.string(), pa.float64()),
    "map<string,array<string>>": pa.map_(pa.string(), pa.list_(pa.field("element", pa.string()))),
}


@dataclass(frozen=True)
class LiveFile:
    """A Parquet file of a table's latest version."""

    uri: str
    path: str
    partition_values: Mapping[str, str]
    size: int
    num_rows: int


@dataclass(frozen=True)
class NewFile:
    """A Parquet file that a commit adds: ``path`` is relative to the table's folder."""

    path: str
    partition_values: Mapping[str, str]
    size: int
    num_rows: int


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns as Arrow has them."""
    return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in table.columns])


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a Spark SQL type name that tables.py uses."""
    if name.startswith("array<"):
        return pa.list_(pa.field("element", _ARROW_TYPES[name[len("array<") : -1]]))
    return _ARROW_TYPES[name]


def open_table(lake: Lake, table: Table) -> DeltaTable | None:
    """The table's latest version, or None while nothing was committed.

    Raises:
        LakeError: the folder holds something that is no Delta table, or cannot be reached.
    """
    uri = plain_uri(lake.at(table.name))
    try:
        return DeltaTable(uri, storage_options=dict(lake.storage_options) or None)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise LakeError(f"{uri}: cannot be read as a Delta table ({_first_line(error)}); check lake.path") from error


def version_of(lake: Lake, table: Table) -> int:
    """The number of the latest version; NO_VERSION while nothing was committed."""
    opened = open_table(lake, table)
    return NO_VERSION if opened is None else int(opened.version())


def live_files(lake: Lake, table: Table, *, where: Where | None = None) -> list[LiveFile]:
    """The files of the latest version whose partition values match ``where``, in a stable order."""
    opened = open_table(lake, table)
    return [] if opened is None else _files_of(opened, lake, table, where or {})


def commit(
    lake: Lake, table: Table, files: Sequence[NewFile], *,
    replace: Where | None = None, append: bool = False, since: int | None = None,
) -> int:  # fmt: skip
    """Add ``files`` and remove the live files that match ``replace``, as one version; returns it.

    With ``append`` nothing is removed. ``replace`` must name the run: nothing outlives its own run by accident.
    ``since`` is the version that the files were made from, where they depend on other runs' rows.

    Raises:
        LakeError: the table is of another release, or not at version ``since`` any more.
    """
    adds = [_add_action(file) for file in files]
    schema = Schema.from_arrow(arrow_schema(table))
    opened = open_table(lake, table)
    latest = NO_VERSION if opened is None else int(opened.version())
    if since is not None and since != latest:
        raise LakeError(
            f"{lake.at(table.name)}: another run wrote version {latest} while this one worked from {since}; nothing is "
            "lost; let the other run end, then go on with --resume"
        )
    if opened is None:
        uri = plain_uri(lake.at(table.name))
        create_table_with_add_actions(
            uri, schema, adds, partition_by=list(table.partition_by), storage_options=dict(lake.storage_options) or None
        )
        return 0
    _check_schema(opened, table, lake)
    removes = [] if append else [_remove_action(file) for file in _files_of(opened, lake, table, replace or {})]
    if adds or removes:
        opened.create_write_transaction([*adds, *removes], "append", schema, list(table.partition_by))
    return int(DeltaTable(opened.table_uri, storage_options=dict(lake.storage_options) or None).version())


def write_rows(
    lake: Lake, table: Table, rows: Iterable[Mapping[str, Any]], *,
    replace: Where | None = None, append: bool = False, since: int | None = None,
) -> int:  # fmt: skip
    """Write a few rows without Spark, grouped by partition, as one commit; returns how many."""
    schema = arrow_schema(table)
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in table.partition_by), []).append(row)
    body = pa.schema([entry for entry in schema if entry.name not in table.partition_by])
    write_id = uuid.uuid4().hex
    files = []
    for values, group in groups.items():
        partition = dict(zip(table.partition_by, values, strict=True))
        folder = partition_folder(write_id, partition)
        data = pa.Table.from_pylist([{name: row[name] for name in body.names} for row in group], schema=body)
        files.append(_write_file(lake, table, f"{folder}/part-00000.parquet", data, partition))
    commit(lake, table, files, replace=replace, append=append, since=since)
    return sum(file.num_rows for file in files)


def partition_folder(write_id: str, partition: Mapping[str, str]) -> str:
    """Where the files of one partition of a write lie, relative to the table's folder."""
    return "/".join([f"{WRITE_ID}={write_id}", *(f"{name}={value}" for name, value in partition.items())])


def new_file(path: str, size: int, num_rows: int) -> NewFile:
    """A file that somebody wrote: its path, relative to the table's folder, says its partition."""
    return NewFile(path, _partition_values(path), size, num_rows)


def found_files(lake: Lake, table: Table, write_id: str) -> list[NewFile]:
    """The Parquet files that an engine put under ``write_id``, with their row counts from the footers."""
    filesystem, root = fsspec.core.url_to_fs(plain_uri(lake.at(table.name)), **lake.storage_options)
    found = []
    for path, info in sorted(filesystem.find(f"{root}/{WRITE_ID}={write_id}", detail=True).items()):
        if not path.endswith(".parquet"):
            continue
        relative = path[len(root) :].lstrip("/")
        with filesystem.open(path, "rb") as stream:
            num_rows = pq.read_metadata(stream).num_rows
        found.append(new_file(relative, int(info["size"]), num_rows))
    return found


def drop_runs(lake: Lake, table: Table, run_ids: Sequence[str]) -> int:
    """Remove the rows of runs from the latest version, and all their files from the store; returns how many files.

    With them go files that were superseded within the run, and those of writes that were killed.
    """
    assert table.partition_by[0] == c.RUN_ID, table.name
    if open_table(lake, table) is None or not run_ids:
        return 0
    commit(lake, table, [], replace={c.RUN_ID: list(run_ids)})
    filesystem, root = fsspec.core.url_to_fs(plain_uri(lake.at(table.name)), **lake.storage_options)
    num_files = 0
    for run_id in run_ids:
        for folder in filesystem.glob(f"{root}/{WRITE_ID}=*/{c.RUN_ID}={run_id}"):
            num_files += len([path for path in filesystem.find(folder) if path.endswith(".parquet")])
            filesystem.rm(folder, recursive=True)
    return num_files


def _files_of(opened: DeltaTable, lake: Lake, table: Table, where: Where) -> list[LiveFile]:
    unknown = set(where) - set(table.partition_by)
    assert not unknown, f"{table.name} is not partitioned by {unknown}"
    # not pa.table(...), which imports pandas: seconds for a reader that wants one list
    actions = pa.RecordBatchReader.from_stream(opened.get_add_actions(flatten=True)).read_all().to_pylist()
    root = plain_uri(lake.at(table.name))
    files = []
    for action in actions:
        values = {name: str(action[f"partition.{name}"]) for name in table.partition_by}
        if all(values[name] in ([wanted] if isinstance(wanted, str) else wanted) for name, wanted in where.items()):
            files.append(
                LiveFile(
                    f"{root}/{action['path']}", action["path"], values, action["size_bytes"], action["num_records"]
                )
            )
    return sorted(files, key=lambda file: (sorted(file.partition_values.items()), file.path))


def _add_action(file: NewFile) -> AddAction:
    stats = json.dumps({"numRecords": file.num_rows})
    return AddAction(file.path, file.size, dict(file.partition_values), _now_ms(), True, stats)


def _remove_action(file: LiveFile) -> RemoveAction:
    return RemoveAction(file.path, True, _now_ms(), file.size, dict(file.partition_values))


def _write_file(lake: Lake, table: Table, path: str, data: pa.Table, partition: Mapping[str, str]) -> NewFile:
    filesystem, root = fsspec.core.url_to_fs(plain_uri(lake.at(table.name)), **lake.storage_options)
    target = f"{root}/{path}"
    filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    with filesystem.open(target, "wb") as stream:
        pq.write_table(data, stream, compression="zstd")
    return NewFile(path, dict(partition), int(filesystem.size(target)), data.num_rows)


def _partition_values(relative: str) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in relative.split("/")[:-1])
    return {name: value for name, value in pairs if name != WRITE_ID}


def _check_schema(opened: DeltaTable, table: Table, lake: Lake) -> None:
    seen = {field.name for field in opened.schema().fields}
    expected = set(table.column_names)
    if seen != expected:
        raise LakeError(
            f"{lake.at(table.name)}: has columns {sorted(seen - expected)} too many and {sorted(expected - seen)} "
            "too few for this release; use a new lake.path or the release that made it"
        )


def _now_ms() -> int:
    return int(time.time() * 1000)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
