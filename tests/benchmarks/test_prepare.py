"""The prepare benchmark on small logs: DuckDB's tables and ours are the same rows, and who dies is left out."""

import sys
from pathlib import Path

import duckdb
import pytest

from benchmarks import prepare as bench
from benchmarks.prepare_log import made_histories, write_log
from benchmarks.prepare_problem import OUR_FOLDER, job_settings, make_tables
from benchmarks.prepare_results import check_same, print_files, print_lake
from benchmarks.workers import Command, workers
from crossrec_core.errors import ConfigError, CrossRecError

MAX_LEN = 20


@pytest.fixture(scope="module")
def histories():
    return made_histories(events=3000, seed=0)


@pytest.fixture
def folder(tmp_path, histories):
    """A small log and a larger one."""
    write_log(histories, tmp_path / "small", events=500, seed=0)
    write_log(histories, tmp_path / "log", events=3000, seed=0)
    return tmp_path


def duckdb_contender(histories):
    found = bench.make_contenders(histories.domain_nums, cores=2, driver_gib=1, environments=None)
    assert list(found) == [bench.SHARED, bench.WHOLE, bench.DUCKDB]
    return found[bench.DUCKDB]


@pytest.mark.spark
@pytest.mark.parametrize("is_whole", [False, True])
def test_duckdb_makes_the_rows_that_we_make(spark, folder, histories, is_whole):
    settings = job_settings(
        folder, "log", domains=histories.domain_nums, max_len=MAX_LEN, cores=2, driver_gib=1
    )  # fmt: skip
    make_tables(settings, spark, is_whole=is_whole)
    ours = print_lake(folder / OUR_FOLDER)
    with workers([duckdb_contender(histories).command], folder, MAX_LEN) as solve:
        solve()
        solve()
    theirs = print_files(folder / "duckdb", has_rejects=True, has_moments=False)
    assert ours == theirs
    assert all(rows > 0 for rows, _ in ours.values())
    assert ours["kept"][0] == ours["events"][0]


def test_a_changed_row_is_told_with_its_table(folder, histories):
    with workers([duckdb_contender(histories).command], folder, MAX_LEN) as solve:
        solve()
    found = folder / "duckdb"
    expected = print_files(found, has_rejects=True, has_moments=False)
    check_same("DuckDB", expected, expected)
    kept, changed = found / "kept.parquet", found / "changed"
    duckdb.sql(f"COPY (SELECT * REPLACE (event_time + (rowid = 0)::BIGINT AS event_time) FROM (SELECT *, row_number() "
               f"OVER () - 1 AS rowid FROM '{kept}')) TO '{changed}' (FORMAT parquet)")  # fmt: skip
    changed.replace(kept)
    with pytest.raises(CrossRecError, match=r"^DuckDB: other rows than ours .*: kept: \(\d+, \d+\), ours"):
        check_same("DuckDB", print_files(found, has_rejects=True, has_moments=False), expected)


def test_a_table_may_be_a_folder_of_files(folder, histories):
    with workers([duckdb_contender(histories).command], folder, MAX_LEN) as solve:
        solve()
    found = folder / "duckdb"
    expected = print_files(found, has_rejects=True, has_moments=False)
    for table in found.glob("sequences-*.parquet"):
        part = table.rename(folder / "part-0.parquet")
        table.mkdir()
        part.rename(table / part.name)
    assert print_files(found, has_rejects=True, has_moments=False) == expected


def test_numbers_with_a_hole_are_refused(folder, histories):
    with workers([duckdb_contender(histories).command], folder, MAX_LEN) as solve:
        solve()
    ids, changed = folder / "duckdb" / "user_ids.parquet", folder / "changed"
    duckdb.sql(f"COPY (FROM '{ids}' WHERE user_num <> 2) TO '{changed}' (FORMAT parquet)")
    changed.replace(ids)
    with pytest.raises(CrossRecError, match=r"^users: .* expected dense ones"):
        print_files(folder / "duckdb", has_rejects=True, has_moments=False)


@pytest.mark.parametrize("is_large", [False, True])
def test_contenders_take_turns_and_one_that_dies_is_left_out(folder, histories, is_large):
    dying = folder / "dying.py"
    dying.write_text("import sys\nnext(sys.stdin), print('solved', flush=True)\n")
    sound = duckdb_contender(histories)
    contenders = {
        bench.SHARED: sound, "dead": bench.Contender(Command(Path(sys.executable), dying, ()), "dead"),
        bench.DUCKDB: sound,
    }  # fmt: skip
    found = bench.time_contenders(
        contenders, folder, max_len=MAX_LEN, repetitions=2, fewer={bench.DUCKDB: 1}, is_large=is_large
    )
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {bench.SHARED: 2, bench.DUCKDB: 1}
    assert list(found["failed"]) == ["dead"]
    assert all(peak > 10 for name in found["seconds"] for peak in found["peak_mib"][name])
    assert found["jvm_mib"] == {bench.SHARED: [0.0, 0.0], bench.DUCKDB: [0.0]}


@pytest.mark.parametrize("name", [bench.SHARED, bench.DUCKDB, "Excel"])
def test_those_whom_all_are_held_against_cannot_be_left_out(name):
    with pytest.raises(ConfigError, match=rf"^--skip {name}: expected some of crossrec, all tables, Polars"):
        bench.main(skip=[name])


def test_the_exponent_is_the_slope_of_the_logarithms():
    runs = [
        {"log": "", "events": rows, "rows": rows, "results": {"a": {"median_s": rows / 10}, "b": {"median_s": rows**2}}}
        for rows in (10, 40, 160)
    ]
    del runs[-1]["results"]["b"]
    assert bench.exponents(runs) == {"a": 1.0, "b": 2.0}
    assert bench.exponents(runs[:1]) == {}


def test_a_skewed_log_is_held_against_the_even_one_by_the_row():
    runs = [
        {"log": log, "events": 100, "rows": rows, "results": {"a": {"median_s": seconds}}}
        for log, rows, seconds in (("even", 100, 2.0), ("skewed", 200, 6.0))
    ]
    assert bench.times_even(runs) == {"100": {"a": 1.5}}
    assert bench.times_even(runs[:1]) == {"100": {}}  # the other is still to come
    assert bench.exponents(runs) == {}


def test_shares_are_of_duckdbs_median():
    seconds = {bench.SHARED: [6.0, 2.0, 4.0], bench.DUCKDB: [1.0, 1.0, 1.0]}
    peaks = {name: [100.0, 300.0, 200.0] for name in seconds}
    rows = bench.summarise(seconds, peaks, peaks, rows=8)
    assert rows[bench.SHARED] == {
        "median_s": 4.0, "rows_per_s": 2, "peak_mib": 300, "jvm_mib": 300, "times_duckdb": 4.0,
    }  # fmt: skip
