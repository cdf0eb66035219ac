"""Lists that a worker writes itself: the rows of the scorer, named, in files that one commit makes visible."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import NewFile, arrow_schema, commit, new_file
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_arrow
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring import list_files
from crossrec_core.tensors.scoring.item_names import write_item_names
from crossrec_core.tensors.scoring.list_files import ListsWrite, LoadListWriter
from crossrec_core.tensors.scoring.scorer import LoadScorer
from tests import scoring_world as world
from tests.tensors.scoring.test_scorer import user_rows

N = 5
NIGHT = date(2026, 1, 31)


@pytest.fixture
def writer(lake: Lake, tmp_path: Path) -> LoadListWriter:
    world.write_ids(lake, run_id="r")
    write_item_names(lake, str(tmp_path / "names"))
    write = ListsWrite(
        lake, "w", "r", NIGHT, c.SERVE, ("popularity", "markov"), {1: "films", 2: "books"}, str(tmp_path / "names")
    )
    return LoadListWriter(world.write_world(tmp_path), write, Search(N, 5))


def files_of(written: pd.DataFrame) -> list[NewFile]:
    return [new_file(*row) for row in written.itertuples(index=False)]


def batches_of(users: pd.DataFrame, size: int) -> list[pd.DataFrame]:
    return [users.iloc[start : start + size] for start in range(0, len(users), size)]


def expected_rows(writer: LoadListWriter, users: pd.DataFrame) -> list[dict[str, object]]:
    """What the scorer says, in the words of the table."""
    scored = LoadScorer(writer.load, writer.search)()(users)
    return [
        {
            c.RUN_ID: "r", c.RUN_DATE: NIGHT, c.PURPOSE: c.SERVE, c.MODEL: writer.write.models[row.model_index],
            c.DOMAIN: writer.write.domains[row.domain_num], c.USER_ID: row.user_id, c.ITEM_ID: f"i{row.item_num}",
            c.RANK: row.rank, c.SCORE: row.score, c.PROBABILITY: None, c.PATH: c.PATHS[row.path_code],
        }
        for row in scored.itertuples()
    ]  # fmt: skip


def in_order(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(rows, key=lambda row: [row[name] for name in (c.MODEL, c.DOMAIN, c.USER_ID, c.RANK)])


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("row_group_rows", [1, 7, 65_536])
def test_the_table_says_what_the_scorer_says_for_any_batches(
    writer: LoadListWriter, lake: Lake, size: int, row_group_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_files, "ROW_GROUP_ROWS", row_group_rows)
    files = files_of(writer()(batches_of(user_rows(), size)))
    commit(lake, t.RECOMMENDATIONS, files, replace={c.RUN_ID: "r"})
    rows = read_arrow(lake, t.RECOMMENDATIONS)
    assert rows.schema.equals(arrow_schema(t.RECOMMENDATIONS))
    assert in_order(rows.to_pylist()) == in_order(expected_rows(writer, user_rows()))
    assert sum(file.num_rows for file in files) == rows.num_rows
    assert len(files) == 4  # two models and two domains


def test_rows_of_a_file_are_in_the_order_of_users_and_ranks_and_a_probability_without_a_ranker_is_null(
    writer: LoadListWriter, lake: Lake
) -> None:
    for file in files_of(writer()(batches_of(user_rows().sort_values(c.USER_ID), 2))):
        rows = pq.read_table(f"{lake.at(t.RECOMMENDATIONS.name)}/{file.path}", partitioning=None)
        keys = list(zip(rows[c.USER_ID].to_pylist(), rows[c.RANK].to_pylist(), strict=True))
        assert keys == sorted(keys)
        assert rows[c.PROBABILITY].null_count == rows.num_rows == file.num_rows
        assert rows.schema.field(c.RUN_DATE).type == pa.date32()


def test_a_task_that_is_done_again_writes_other_files_and_only_those_of_the_commit_are_read(
    writer: LoadListWriter, lake: Lake
) -> None:
    first, second = (files_of(writer()(batches_of(user_rows(), 4))) for _ in range(2))
    assert not {file.path for file in first} & {file.path for file in second}
    commit(lake, t.RECOMMENDATIONS, second, replace={c.RUN_ID: "r"})
    assert read_arrow(lake, t.RECOMMENDATIONS).num_rows == sum(file.num_rows for file in second)


def test_a_task_without_users_writes_no_file(writer: LoadListWriter) -> None:
    assert writer()([]).empty
    assert writer()([user_rows().iloc[:0]]).empty


def test_an_item_that_came_after_the_last_write_has_its_name_in_the_next(
    writer: LoadListWriter, lake: Lake, tmp_path: Path
) -> None:
    writer()(batches_of(user_rows(), 4))
    longer = pa.array([None, *(f"new {number}" for number in range(1, 21))])
    with pa.ipc.new_file(str(tmp_path / "names" / "names.arrow"), pa.schema([(c.ITEM_ID, pa.string())])) as names:
        names.write_table(pa.table({c.ITEM_ID: longer}))
    again = replace(writer, write=replace(writer.write, write_id="w2"))
    commit(lake, t.RECOMMENDATIONS, files_of(again()(batches_of(user_rows(), 4))), replace={c.RUN_ID: "r"})
    assert all(name.startswith("new ") for name in read_arrow(lake, t.RECOMMENDATIONS)[c.ITEM_ID].to_pylist())
