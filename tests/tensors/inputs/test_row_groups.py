"""Row groups: every one to exactly one rank, and the ranks about equally full."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.inputs.row_groups import (
    RowGroup,
    column_dtypes,
    list_row_groups,
    open_file,
    open_live_files,
    share_row_groups,
)


def make_row_groups(sizes: list[int]) -> list[RowGroup]:
    return [RowGroup(file=place // 3, index=place % 3, num_rows=rows) for place, rows in enumerate(sizes)]


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 100), min_size=4), num_ranks=st.integers(1, 4), turn=st.integers(0, 9))
def test_ranks_share_all_row_groups_within_one_row_group_of_each_other(
    sizes: list[int], num_ranks: int, turn: int
) -> None:
    row_groups = make_row_groups(sizes)
    shares = share_row_groups(row_groups, num_ranks)
    assert sorted(chain(*shares), key=row_groups.index) == row_groups
    loads = [sum(row_group.num_rows for row_group in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes)
    turned = row_groups[turn:] + row_groups[:turn]
    assert share_row_groups(turned, num_ranks) == shares


def test_the_largest_row_groups_are_dealt_first() -> None:
    shares = share_row_groups(make_row_groups([2, 3, 4, 3]), 2)
    assert [[row_group.num_rows for row_group in share] for share in shares] == [[2, 4], [3, 3]]


def test_a_rank_without_a_row_group_is_refused() -> None:
    with pytest.raises(CrossRecError, match=r"3 ranks but 2 row groups; use fewer ranks or write smaller row groups"):
        share_row_groups(make_row_groups([5, 5]), 3)


def broken_lists(folder: Path) -> Iterator[tuple[list[str], str]]:
    yield [], "the list of live files is empty"
    (folder / "empty.parquet").touch()
    yield [str(folder / "empty.parquet")], "empty.parquet: not a readable Parquet file"
    yield [str(folder / "gone.parquet")], "gone.parquet: not a readable Parquet file"
    pq.write_table(pa.table({"user_num": pa.array([], pa.int64())}), folder / "none.parquet")
    yield [str(folder / "none.parquet")], "hold no rows"
    pq.write_table(pa.table({"user_num": [1, 2]}), folder / "part.parquet")
    yield [str(folder / "part.parquet")] * 2, "listed twice"
    yield [f"file://{folder}/part.parquet", "memory://part.parquet"], "another filesystem"
    yield ["nosuch://bucket/part.parquet"], "no filesystem for this address"


def test_a_list_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    for files, message in broken_lists(tmp_path):
        with pytest.raises(CrossRecError, match=message) as caught:
            list_row_groups(open_live_files(files))
        assert "\n" not in str(caught.value)


def test_files_that_disagree_about_a_column_are_refused_unless_one_has_no_rows(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "a": pa.array([1, 2], pa.int32()),
        "b": pa.array([3, 4]),
        "c": pa.array([0.5]),
        "none": pa.array([]),
    }
    for name, column in values.items():
        pq.write_table(pa.table({"seen": column}), tmp_path / f"{name}.parquet")
    alike = open_live_files([str(tmp_path / f"{name}.parquet") for name in ("a", "b", "none")])
    assert column_dtypes(alike, ["seen"]) == {"seen": np.dtype(np.int64)}
    other = open_live_files([str(tmp_path / f"{name}.parquet") for name in ("a", "c")])
    with pytest.raises(
        CrossRecError, match=r"c.parquet: column seen has type double, expected int64 as in .*a.parquet"
    ):
        column_dtypes(other, ["seen"])


def test_two_openers_of_a_memory_file_have_a_position_each() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/row_groups/part.parquet", b"0123456789")
    first, second = (open_file(memory, "/row_groups/part.parquet") for _ in range(2))
    assert first.read(4) == b"0123"
    assert second.read(4) == b"0123"
    assert first.read(4) == b"4567"
