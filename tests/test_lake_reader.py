"""lake_reader: rows of the latest version, nothing else readable, nothing writable."""

from datetime import UTC
from pathlib import Path
from tempfile import gettempdir

import duckdb
import pyarrow as pa
import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files, write_rows
from crossrec_core.errors import CrossRecError, LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import connect, query, read_arrow, read_rows, scan_arrow
from crossrec_core.ledger import publish
from tests.small_lake import small_settings, write_run

COUNT = "SELECT count(*) FROM recommendations"


@pytest.fixture
def two_runs(lake: Lake, tmp_path: Path) -> Lake:
    """Two runs, the first published."""
    for night, run_id in enumerate(("2026-01-01", "r2")):
        write_run(lake, small_settings(tmp_path), run_id, night=night)
    publish(lake, "2026-01-01")
    return lake


def test_every_declared_table_can_be_queried_written_or_not(two_runs: Lake) -> None:
    with connect(two_runs) as connection:
        for table in t.ALL_TABLES.values():
            assert query(connection, f"SELECT * FROM {table.name} LIMIT 0").columns == table.column_names


def test_a_run_id_that_looks_like_a_date_stays_text(two_runs: Lake) -> None:
    with connect(two_runs, run_id="2026-01-01") as connection:
        assert query(connection, "SELECT DISTINCT run_id FROM recommendations").rows == [("2026-01-01",)]


def test_a_connection_to_one_run_holds_its_rows_and_all_ids(two_runs: Lake) -> None:
    with connect(two_runs, run_id="r2") as connection:
        assert query(connection, COUNT).rows == [(18,)]
        assert query(connection, "SELECT DISTINCT run_id FROM recommendations").rows == [("r2",)]
        assert query(connection, "SELECT DISTINCT run_id FROM user_ids").rows == [("2026-01-01",)]


def test_rows_that_a_rerun_replaced_are_gone(two_runs: Lake) -> None:
    rows = read_rows(two_runs, t.RECOMMENDATIONS, where={c.RUN_ID: "r2"})
    write_rows(two_runs, t.RECOMMENDATIONS, rows[:5], replace={c.RUN_ID: "r2"})
    with connect(two_runs) as connection:
        assert query(connection, COUNT).rows == [(18 + 5,)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "SELECT * FROM read_text('{folder}/secret.txt')",
        "SELECT * FROM '{folder}/secret.txt'",
        "SELECT * FROM glob('{folder}/*')",
        "ATTACH '{folder}/new.db'",
        "CREATE TABLE mine AS SELECT 1",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_sql_can_neither_write_nor_read_anything_but_tables(two_runs: Lake, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="ascii")
    file = live_files(two_runs, t.RECOMMENDATIONS)[0].uri
    before, bytes_before = sorted(tmp_path.iterdir()), Path(file).read_bytes()
    with connect(two_runs) as connection, pytest.raises(CrossRecError, match=r"^sql: [^\n]+$"):
        query(connection, sql.format(file=file, folder=tmp_path))
    assert sorted(tmp_path.iterdir()) == before
    assert Path(file).read_bytes() == bytes_before


def test_what_does_not_fit_into_memory_is_never_spilled_into_the_users_folder(two_runs: Lake) -> None:
    with connect(two_runs) as connection:
        spilled = connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
    assert Path(spilled).parent == Path(gettempdir())


def test_a_python_variable_is_no_table(two_runs: Lake) -> None:
    secret = pa.table({"secret": [1]})
    with connect(two_runs) as connection, pytest.raises(duckdb.Error, match="secret does not exist"):
        connection.execute("SELECT * FROM secret").fetchall()
    assert secret.num_rows == 1


def test_parameters_are_values_and_never_sql(two_runs: Lake) -> None:
    with connect(two_runs) as connection:
        answer = query(connection, f"{COUNT} WHERE user_id = $1", ["o'brien"])
        assert answer.rows == [(2 * 2 * 3,)]
        assert query(connection, f"{COUNT} WHERE user_id = $1", ["' OR true --"]).rows == [(0,)]


def test_times_come_back_in_utc(two_runs: Lake) -> None:
    (row,) = read_rows(two_runs, t.PUBLICATIONS)
    assert row["published_at"].utcoffset() == UTC.utcoffset(None)


def test_views_are_those_of_the_published_run(two_runs: Lake) -> None:
    folder = Path(two_runs.at("sql/2026-01-01/views"))
    folder.mkdir(parents=True)
    (folder / "places.sql").write_text("SELECT count(*) AS places FROM recommendations;", encoding="ascii")
    with connect(two_runs, published="2026-01-01") as connection:
        assert query(connection, "SELECT * FROM places").rows == [(36,)]


def test_arrow_reads_columns_of_the_matching_partitions(two_runs: Lake) -> None:
    import pyarrow.dataset as ds

    rows = read_arrow(
        two_runs, t.RECOMMENDATIONS, where={c.RUN_ID: "r2", c.DOMAIN: ["films"]}, columns=[c.ITEM_ID, c.RUN_ID],
        predicate=(ds.field(c.USER_ID) == "ann") & (ds.field(c.RANK) > 1),
    )  # fmt: skip
    assert rows.to_pylist() == [{c.ITEM_ID: "i22", c.RUN_ID: "r2"}, {c.ITEM_ID: "i23", c.RUN_ID: "r2"}]


def test_arrow_and_duckdb_read_the_same_rows(two_runs: Lake) -> None:
    for table in (t.RECOMMENDATIONS, t.SEQUENCES, t.TRANSITIONS):
        from_arrow = read_arrow(two_runs, table, where={c.RUN_ID: "r2"}).to_pylist()
        from_duckdb = read_rows(two_runs, table, where={c.RUN_ID: "r2"})
        assert sorted(map(str, from_arrow)) == sorted(map(str, from_duckdb))


def test_a_missing_lake_or_table_says_what_to_run(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"no lake here; run jobs/nightly\.py"):
        connect(lake)
    with pytest.raises(LakeError, match=r"recommendations: no such table; expected one written by score, serve"):
        scan_arrow(lake, t.RECOMMENDATIONS)
    assert read_rows(lake, t.RUNS) == []
