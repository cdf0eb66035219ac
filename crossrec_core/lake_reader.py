"""A lake in, Arrow tables, rows or a DuckDB connection out; no Spark, and nothing here writes.

Local tables are read by DuckDB itself, tables of an object store through deltalake's Arrow dataset. Registering a table
opens its log and one footer, never its rows.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import pyarrow as pa

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import Where, arrow_schema, live_files, open_table
from crossrec_core.errors import CrossRecError, LakeError
from crossrec_core.lake import Lake, local_path, plain_uri, views_location

if TYPE_CHECKING:  # pyarrow.dataset pulls pandas in: seconds that an ad-hoc answer should not pay
    import pyarrow.dataset as ds

# Their rows belong to the lake, not to the run that happened to add them
OVER_RUNS = (t.USER_IDS, t.ITEM_IDS, t.LABEL_IDS, t.TEXT_VECTORS, t.PUBLICATIONS)
# A refreshed run has rows of its own for the users it made anew, and shows those of the runs before it for the others
BY_USER_ID, BY_USER_NUM = (t.RECOMMENDATIONS,), (t.HISTORIES, t.USER_LIKES, t.SEQUENCES)
REMADE = "remade_users"
_REMADE = f"""
CREATE VIEW {REMADE} AS
WITH remade AS (
    SELECT user_id, min(list_position(getvariable('parts'), run_id)) AS place
    FROM remaking_fingerprints
    GROUP BY user_id
)
SELECT remade.user_id, numbered.user_num, remade.place
FROM remade
LEFT JOIN numbered_users AS numbered ON numbered.user_id = remade.user_id
"""


@dataclass(frozen=True)
class Answer:
    """The rows of a query, with their column names."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def scan_arrow(lake: Lake, table: t.Table, *, where: Where | None = None) -> "ds.Dataset":
    """The live files of a table whose partition values match ``where``, as an Arrow dataset; nothing is read yet.

    Raises:
        LakeError: the lake or the table is not there.
    """
    opened = open_table(lake, table)
    if opened is None:
        raise LakeError(_missing(lake, table))
    wanted = {name: [value] if isinstance(value, str) else list(value) for name, value in (where or {}).items()}
    filters: list[tuple[str, str, Any]] = [(name, "in", values) for name, values in wanted.items()]
    return opened.to_pyarrow_dataset(file_pruning_predicate=filters or None, schema=arrow_schema(table))


def read_arrow(
    lake: Lake,
    table: t.Table,
    *,
    where: Where | None = None,
    columns: Sequence[str] | None = None,
    predicate: "ds.Expression | None" = None,
) -> pa.Table:
    """The rows of a table that match ``where`` (on partition columns) and ``predicate``, in file order.

    Raises:
        LakeError: the lake or the table is not there.
    """
    names = list(columns or table.column_names)
    return scan_arrow(lake, table, where=where).to_table(columns=names, filter=predicate)


def read_rows(lake: Lake, table: t.Table, *, where: Where | None = None) -> list[dict[str, Any]]:
    """The rows of a small table as dicts; an absent table has none."""
    with duckdb.connect() as connection:
        _register(connection, lake, table, where or {})
        result = connection.execute(f"SET TimeZone = 'UTC'; SELECT * FROM {table.name}")
        return Answer(table.column_names, result.fetchall()).to_dicts()


def parts_of(lake: Lake, run_id: str) -> list[str]:
    """The runs whose rows a run shows, newest first: itself, then, for a refreshed one, those it stands on.

    The last of them is a whole night: the models, candidates and item tables are its.
    """
    rows = sorted(read_rows(lake, t.RUN_PARTS, where={c.RUN_ID: run_id}), key=lambda row: row[c.PLACE])
    return [row[c.PART_RUN_ID] for row in rows] or [run_id]


def connect(
    lake: Lake, *,
    run_id: str | None = None, tables: Sequence[t.Table] | None = None, published: str | None = None,
    only_remade: bool = False,
) -> duckdb.DuckDBPyConnection:  # fmt: skip
    """A DuckDB connection in which every table of the lake is a view, and nothing else can be read.

    With ``run_id`` the tables hold what that run shows only (id tables and publications stay whole): its own rows and,
    where it is a refreshed one, those of the runs it stands on, under its name; with ``only_remade`` without the lists,
    histories, likes and sequences it took over. With ``published`` the SQL views that this run was published with are
    there too. A table that was never written has no rows.

    Raises:
        LakeError: no lake there, or one of its views does not fit its tables.
    """
    check_lake(lake)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # what does not fit into memory spills there; DuckDB's own choice is the folder that the user stands in
    connection.execute("SET temp_directory = ?", [f"{tempfile.gettempdir()}/crossrec-duckdb-{os.getpid()}"])
    allowed: list[str] = []
    wanted = tuple(tables or t.ALL_TABLES.values())
    parts = [] if run_id is None else parts_of(lake, run_id)
    if len(parts) > 1:
        allowed += _register_remade(connection, lake, parts)
    for table in wanted:
        if run_id is None or table in OVER_RUNS:
            allowed += _register(connection, lake, table, {})
        elif len(parts) == 1:
            allowed += _register(connection, lake, table, {c.RUN_ID: run_id})
        else:
            allowed += _register_parts(connection, lake, table, parts, only_remade=only_remade)
    if published is not None:
        _create_views(connection, lake, published)
    connection.execute("SET allowed_paths = ?", [allowed])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = (), *, limit: int | None = None
) -> Answer:
    """The answer to one SELECT, its first ``limit`` rows; anything else is refused: no query changes the lake.

    Raises:
        CrossRecError: not exactly one SELECT, or DuckDB cannot run it.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise CrossRecError("sql: expected one SELECT statement; the lake is read-only here")
        result = connection.execute(statements[0], list(parameters))
        rows = result.fetchall() if limit is None else result.fetchmany(limit)
        return Answer(tuple(column[0] for column in result.description or ()), rows)
    except duckdb.Error as error:
        raise CrossRecError(f"sql: {_one_line(error)}") from error


def check_lake(lake: Lake) -> None:
    """Raise LakeError unless a lake with at least one finished or running step is there."""
    if open_table(lake, t.RUNS) is None and open_table(lake, t.PUBLICATIONS) is None:
        raise LakeError(f"{lake.path}: no lake here; run jobs/nightly.py to make one, or name another with --lake PATH")


def _register_remade(connection: duckdb.DuckDBPyConnection, lake: Lake, parts: Sequence[str]) -> list[str]:
    """Make a view of the users whom a refreshed run, or one it stands on, made anew, with the place of the newest."""
    connection.execute("SET VARIABLE parts = ?", [list(parts)])
    files = _register(connection, lake, t.USER_FINGERPRINTS, {c.RUN_ID: list(parts[:-1])}, name="remaking_fingerprints")
    files += _register(connection, lake, t.USER_IDS, {}, name="numbered_users")
    connection.execute(_REMADE)
    return files


def _register_parts(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: t.Table, parts: Sequence[str], *, only_remade: bool
) -> list[str]:
    """Make a view of what a refreshed run shows of a table, under its name."""
    if table in (*BY_USER_ID, *BY_USER_NUM) and not only_remade:
        shown = list(parts)
    else:
        is_own = table is t.RUNS or "refresh" in table.written_by
        shown = [parts[0] if is_own else parts[-1]]
    files = _register(connection, lake, table, {c.RUN_ID: shown}, name=f"made_{table.name}")
    names = ", ".join(f'made."{name}"' for name in table.column_names if name != c.RUN_ID)
    carried = ""
    if len(shown) > 1:
        key = c.USER_ID if table in BY_USER_ID else c.USER_NUM
        carried = (
            f" LEFT JOIN (SELECT {key}, min(place) AS place FROM {REMADE} GROUP BY {key}) AS remade"
            f" ON remade.{key} = made.{key}"
            " WHERE remade.place IS NULL OR list_position(getvariable('parts'), made.run_id) <= remade.place"
        )
    connection.execute(
        f"CREATE VIEW {table.name} AS SELECT getvariable('parts')[1] AS run_id, {names}"
        f" FROM made_{table.name} AS made{carried}"
    )
    return files


def _register(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: t.Table, where: Where, *, name: str = ""
) -> list[str]:
    """Make a view of a table's rows that match ``where``; returns the local files behind it."""
    name = name or table.name
    files = [file.uri for file in live_files(lake, table, where=where)]
    if not files:
        types = ", ".join(f'NULL::{_duckdb_type(column.type)} AS "{column.name}"' for column in table.columns)
        connection.execute(f"CREATE VIEW {name} AS SELECT {types} WHERE false")
        return []
    if local_path(lake.path) is None:
        connection.register(name, scan_arrow(lake, table, where=where))
        return []
    # A variable carries the paths: a view cannot take parameters, and nothing from outside is pasted into SQL
    connection.execute(f"SET VARIABLE files_of_{name} = ?", [files])
    names = ", ".join(f'"{name}"' for name in table.column_names)
    types = ", ".join(f"{name}: VARCHAR" for name in table.partition_by)
    hive = f"hive_partitioning = true, hive_types = {{{types}}}" if types else "hive_partitioning = false"
    connection.execute(
        f"CREATE VIEW {name} AS SELECT {names} FROM read_parquet(getvariable('files_of_{name}'), {hive})"
    )
    return files


def _create_views(connection: duckdb.DuckDBPyConnection, lake: Lake, run_id: str) -> None:
    """The views that a run was published with; each file holds one SELECT and is named like its view."""
    for name, sql in read_sql_folder(lake.at(views_location(run_id)), lake).items():
        try:
            connection.sql(sql).create_view(name)
        except duckdb.Error as error:
            where = lake.at(views_location(run_id))
            raise LakeError(f"{where}/{name}.sql: {_one_line(error)}; publish again with this release") from error


def read_sql_folder(path: str, lake: Lake) -> dict[str, str]:
    """Name -> text of the .sql files of a folder, in the order of their names."""
    filesystem, root = fsspec.core.url_to_fs(plain_uri(path), **lake.storage_options)
    found = sorted(filesystem.glob(f"{root}/*.sql"))
    return {name.rsplit("/", 1)[-1].removesuffix(".sql"): filesystem.cat_file(name).decode() for name in found}


def _duckdb_type(name: str) -> str:
    """DuckDB's name of a Spark SQL type that tables.py uses."""
    if name.startswith("array<"):
        return f"{_duckdb_type(name[len('array<') : -1])}[]"
    if name.startswith("map<"):
        key, value = name[len("map<") : -1].split(",", 1)
        return f"MAP({_duckdb_type(key)}, {_duckdb_type(value)})"
    return {"string": "VARCHAR", "timestamp": "TIMESTAMPTZ"}.get(name, name.upper())


def _missing(lake: Lake, table: t.Table) -> str:
    return f"{lake.at(table.name)}: no such table; expected one written by {', '.join(table.written_by)}; run that step"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
