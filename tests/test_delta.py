"""Rows and files in, atomic versions out."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crossrec_core import tables as t
from crossrec_core.delta import arrow_schema, commit, drop_runs, live_files, open_table, version_of, write_rows
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake


def rejects(run_id: str, *texts: str) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "domain": "books", "reason": "corrupt_row", "source_file": None, "raw_text": text}
        for text in texts
    ]


def texts_of(lake: Lake) -> dict[str, list[str]]:
    opened = open_table(lake, t.REJECTS)
    assert opened is not None
    found: dict[str, list[str]] = {}
    for row in opened.to_pyarrow_table().to_pylist():
        found.setdefault(row["run_id"], []).append(row["raw_text"])
    return {run_id: sorted(texts) for run_id, texts in found.items()}


def test_a_rerun_replaces_its_own_rows_and_nothing_else(lake: Lake) -> None:
    write_rows(lake, t.REJECTS, rejects("one", "a", "b"), replace={"run_id": "one"})
    write_rows(lake, t.REJECTS, rejects("two", "c"), replace={"run_id": "two"})
    write_rows(lake, t.REJECTS, rejects("one", "d"), replace={"run_id": "one"})
    assert texts_of(lake) == {"one": ["d"], "two": ["c"]}


def test_one_write_is_one_version(lake: Lake) -> None:
    write_rows(lake, t.REJECTS, rejects("one", "a"), replace={"run_id": "one"})
    write_rows(lake, t.REJECTS, rejects("one", "b"), replace={"run_id": "one"})
    opened = open_table(lake, t.REJECTS)
    assert opened is not None
    assert opened.version() == 1


def test_an_older_version_still_reads_its_rows(lake: Lake) -> None:
    write_rows(lake, t.REJECTS, rejects("one", "a"), replace={"run_id": "one"})
    write_rows(lake, t.REJECTS, rejects("one", "b"), replace={"run_id": "one"})
    opened = open_table(lake, t.REJECTS)
    assert opened is not None
    opened.load_as_version(0)
    assert opened.to_pyarrow_table()["raw_text"].to_pylist() == ["a"]


def test_a_write_made_from_an_older_version_is_refused(lake: Lake) -> None:
    since = version_of(lake, t.REJECTS)
    write_rows(lake, t.REJECTS, rejects("one", "a"), replace={"run_id": "one"}, since=since)
    with pytest.raises(LakeError, match=r"another run wrote version 0 while this one worked from -1; .* --resume"):
        write_rows(lake, t.REJECTS, rejects("two", "b"), replace={"run_id": "two"}, since=since)
    write_rows(lake, t.REJECTS, rejects("two", "b"), replace={"run_id": "two"}, since=version_of(lake, t.REJECTS))
    assert texts_of(lake) == {"one": ["a"], "two": ["b"]}


def test_files_without_a_commit_are_not_read(lake: Lake) -> None:
    write_rows(lake, t.REJECTS, rejects("one", "a"), replace={"run_id": "one"})
    stray = Path(lake.at("rejects")) / "write_id=killed" / "run_id=one"
    stray.mkdir(parents=True)
    (stray / "part-0.parquet").write_bytes(Path(live_files(lake, t.REJECTS)[0].uri).read_bytes())
    assert texts_of(lake) == {"one": ["a"]}
    assert len(live_files(lake, t.REJECTS)) == 1


def test_live_files_know_their_rows_and_partitions(lake: Lake) -> None:
    write_rows(lake, t.REJECTS, rejects("one", "a", "b"), replace={"run_id": "one"})
    write_rows(lake, t.REJECTS, rejects("two", "c"), replace={"run_id": "two"})
    (file,) = live_files(lake, t.REJECTS, where={"run_id": ["one", "three"]})
    assert (file.num_rows, dict(file.partition_values)) == (2, {"run_id": "one", "reason": "corrupt_row"})


def test_a_table_nobody_wrote_has_no_files(lake: Lake) -> None:
    assert live_files(lake, t.REJECTS) == []


def test_no_rows_still_make_the_table(lake: Lake) -> None:
    commit(lake, t.REJECTS, [], replace={"run_id": "one"})
    opened = open_table(lake, t.REJECTS)
    assert opened is not None
    assert opened.to_pyarrow_table().num_rows == 0


def test_dropped_runs_leave_table_and_disk(lake: Lake) -> None:
    for run_id in ("one", "two"):
        write_rows(lake, t.REJECTS, rejects(run_id, "a"), replace={"run_id": run_id})
    gone = Path(live_files(lake, t.REJECTS, where={"run_id": "one"})[0].uri)
    assert drop_runs(lake, t.REJECTS, ["one"]) == 1
    assert texts_of(lake) == {"two": ["a"]}
    assert not gone.exists()


def test_a_dropped_run_takes_superseded_and_killed_writes_with_it(lake: Lake) -> None:
    for text in ("a", "b"):
        write_rows(lake, t.REJECTS, rejects("one", text), replace={"run_id": "one"})
    killed = Path(lake.at("rejects")) / "write_id=killed" / "run_id=one" / "part-0.parquet"
    killed.parent.mkdir(parents=True)
    killed.write_bytes(b"half a file")
    assert drop_runs(lake, t.REJECTS, ["one"]) == 3
    assert not list(Path(lake.at("rejects")).rglob("*.parquet"))
    assert drop_runs(lake, t.USER_PROFILES, ["one"]) == 0
    assert open_table(lake, t.USER_PROFILES) is None


def test_append_only_tables_keep_what_they_have(lake: Lake) -> None:
    row = {"run_id": "one", "published_at": 0, "kind": "publish", "lake_version": 1}
    write_rows(lake, t.PUBLICATIONS, [row], append=True)
    write_rows(lake, t.PUBLICATIONS, [{**row, "run_id": "two"}], append=True)
    opened = open_table(lake, t.PUBLICATIONS)
    assert opened is not None
    assert sorted(opened.to_pyarrow_table()["run_id"].to_pylist()) == ["one", "two"]


def test_a_table_of_other_columns_is_refused(lake: Lake) -> None:
    other = t.Table("rejects", "", (), (t.RUN_ID, t.DOMAIN), ("run_id",), ())
    commit(lake, other, [], append=True)
    with pytest.raises(LakeError, match=r"columns \[\] too many and \['raw_text', 'reason', 'source_file'\] too few"):
        write_rows(lake, t.REJECTS, rejects("one", "a"), replace={"run_id": "one"})


def test_a_folder_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "rejects" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("not json")
    with pytest.raises(LakeError, match="cannot be read as a Delta table"):
        open_table(Lake(str(tmp_path)), t.REJECTS)


@pytest.mark.parametrize("table", t.ALL_TABLES.values(), ids=lambda table: table.name)
def test_every_declared_table_has_an_arrow_schema(table: t.Table) -> None:
    assert isinstance(arrow_schema(table), pa.Schema)
    assert set(table.key) | set(table.partition_by) <= set(table.column_names)
