"""The feed: every live row once, in an order that only seed, epoch and rank decide."""

import functools
import itertools
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.inputs.feed import count_rows, count_steps, read_batches
from crossrec_core.tensors.inputs.petastorm_arrow import ParquetDatasetPiece

SIZES = ((40, 15), (23, 23), (9, 2))  # rows, rows per row group: 3 + 1 + 5 row groups, 72 rows
NUM_ROWS = 72


def make_table(first: int, num_rows: int) -> pa.Table:
    user_nums = range(first, first + num_rows)
    return pa.table(
        {
            "user_num": user_nums,
            "user_id": [f"u{number}" for number in user_nums],
            "weight": [number / 2 for number in user_nums],
            "is_cold": [number % 2 == 0 for number in user_nums],
            "items": [[number, 0, -number] for number in user_nums],
            "gap_s": [[number / 4, 1.0] for number in user_nums],
        }
    )


def write_sequences(folder: str) -> list[str]:
    """Three files under partition folders, and beside each a superseded one that is not in the list."""
    filesystem, root = fsspec.url_to_fs(folder)
    starts = itertools.accumulate((rows for rows, _ in SIZES), initial=0)
    paths = []
    for number, (first, (rows, group)) in enumerate(zip(starts, SIZES, strict=False)):
        place = f"write_id=ab/run_id=2026-11-2{number}/purpose=validate"
        filesystem.makedirs(f"{root}/{place}", exist_ok=True)
        for name, start in (("part-000", first), ("part-old", 10_000)):
            with filesystem.open(f"{root}/{place}/{name}.parquet", "wb") as sink:
                pq.write_table(make_table(start, rows), sink, row_group_size=group)
        paths.append(f"{folder}/{place}/part-000.parquet")
    return paths


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return write_sequences(str(tmp_path))


def read(files: Sequence[str], **changes: Any) -> list[dict[str, Tensor]]:
    settings: dict[str, Any] = {"columns": ["user_num"], "batch_size": 8, "seed": 5, "epoch": 0}
    return list(read_batches(files, **(settings | {"shuffle_buffer_rows": 20} | changes)))


def user_nums(batches: Sequence[dict[str, Tensor]]) -> list[int]:
    return torch.cat([batch["user_num"] for batch in batches]).tolist()


def test_local_paths_file_urls_and_memory_urls_give_every_row_once(tmp_path: Path) -> None:
    for folder in (str(tmp_path / "plain"), f"file://{tmp_path}/url", f"memory://{tmp_path.name}"):
        paths = write_sequences(folder)
        assert sorted(user_nums(read(paths))) == list(range(NUM_ROWS)), folder
        assert count_rows(paths) == NUM_ROWS


def test_paths_may_hold_characters_that_urls_give_a_meaning_to(tmp_path: Path) -> None:
    paths = write_sequences(f"{tmp_path}/a#b?c;d%20e!1 f")
    assert sorted(user_nums(read(paths))) == list(range(NUM_ROWS))


def test_columns_are_the_asked_ones_with_their_rows_together(files: list[str]) -> None:
    asked = ["gap_s", "user_num", "items", "is_cold", "weight"]
    for shuffle in (True, False):
        for batch in read(files, columns=asked, shuffle=shuffle):
            user_B = batch["user_num"]
            assert list(batch) == asked
            assert [batch[name].dtype for name in asked] == [torch.float32, *[torch.int64] * 3, torch.float32]
            assert torch.equal(batch["items"], torch.stack([user_B, 0 * user_B, -user_B], dim=1))
            assert torch.equal(batch["gap_s"], torch.stack([user_B / 4, torch.ones(len(user_B))], dim=1))
            assert torch.equal(batch["weight"], user_B / 2)
            assert torch.equal(batch["is_cold"], (user_B % 2 == 0).long())


def test_without_shuffling_rows_come_in_file_order_however_the_files_are_listed(files: list[str]) -> None:
    assert user_nums(read(files[::-1], shuffle=False)) == list(range(NUM_ROWS))


def test_number_of_threads_changes_no_batch(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ParquetDatasetPiece.read

    def slow_for_every_third(piece: ParquetDatasetPiece, columns: list[str], partitions: None) -> pa.Table:
        time.sleep(0.02 if plain_row_groups[piece.path] % 3 == 0 else 0)
        return plain(piece, columns, partitions)

    plain_row_groups = {f"/{file}!{index}": 2 * file + index for file in range(3) for index in range(5)}
    monkeypatch.setattr(ParquetDatasetPiece, "read", slow_for_every_third)
    one, two, four = (read(files, columns=["user_num", "items"], reader_threads=threads) for threads in (1, 2, 4))
    for batch, *others in zip(one, two, four, strict=True):
        assert all(torch.equal(batch[name], other[name]) for other in others for name in batch)


def test_seed_and_epoch_decide_the_order(files: list[str]) -> None:
    orders = [user_nums(read(files, seed=seed, epoch=epoch)) for seed, epoch in ((5, 0), (5, 0), (5, 1), (6, 0))]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_torch_generator_is_neither_used_nor_moved(files: list[str]) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    order = user_nums(read(files))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert user_nums(read(files)) == order


def test_batches_mix_rows_of_several_row_groups(files: list[str]) -> None:
    first = user_nums(read(files, shuffle_buffer_rows=NUM_ROWS)[:1])
    assert len({number // 15 if number < 40 else number for number in first}) > 1
    assert first != sorted(first)


def test_row_groups_are_read_in_an_order_that_seed_and_epoch_decide(files: list[str]) -> None:
    orders = [user_nums(read(files, epoch=epoch, shuffle_buffer_rows=1)) for epoch in (0, 1)]  # 1 row: rows stay put
    assert orders[0] != orders[1]
    assert [sorted(order) for order in orders] == [list(range(NUM_ROWS))] * 2


def test_three_ranks_take_the_same_steps_and_cover_all_rows(files: list[str]) -> None:
    for drop_last, sizes in ((False, [8, 8, 8, 1]), (True, [8, 8, 8])):
        ranks = [read(files, rank=rank, num_ranks=3, drop_last=drop_last) for rank in range(3)]
        # 72 rows in row groups of 23, 15, 15, 10, 2, 2, 2, 2 and 1, the largest first to the emptiest rank:
        # 23 + 1, 15 + 2 + 2 + 2 + 2, 15 + 10
        assert [[len(batch["user_num"]) for batch in batches] for batches in ranks] == [sizes] * 3
        assert count_steps(files, batch_size=8, num_ranks=3, drop_last=drop_last) == len(sizes)
        if not drop_last:
            assert set().union(*(user_nums(batches) for batches in ranks)) == set(range(NUM_ROWS))


def test_a_rank_with_fewer_rows_repeats_its_own_first_ones(tmp_path: Path) -> None:
    pq.write_table(make_table(0, 13), tmp_path / "part.parquet", row_group_size=10)  # row groups of 10 and 3
    short = user_nums(read([str(tmp_path / "part.parquet")], rank=1, num_ranks=2, batch_size=4))
    assert sorted(short[:3]) == [10, 11, 12]
    assert short == (short[:3] * 4)[:10]


def test_more_ranks_than_row_groups_is_refused(tmp_path: Path) -> None:
    pq.write_table(make_table(0, 13), tmp_path / "part.parquet")
    with pytest.raises(CrossRecError, match=r"2 ranks but 1 row groups; use fewer ranks"):
        read([str(tmp_path / "part.parquet")], num_ranks=2)


def reader_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread is not threading.main_thread()}


def test_closing_early_ends_all_reader_threads(files: list[str]) -> None:
    before = reader_threads()
    batches = read_batches(files, columns=["user_num"], batch_size=2, seed=0, epoch=0, shuffle_buffer_rows=4)
    next(batches)
    assert reader_threads() > before
    batches.close()
    assert reader_threads() == before


def test_a_slow_row_group_does_not_let_the_others_pile_up(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, started = ParquetDatasetPiece.read, []

    def slow_first(piece: ParquetDatasetPiece, columns: list[str], partitions: None) -> pa.Table:
        started.append(piece.path)
        if piece.path == "/0!0":
            time.sleep(0.3)
            started_by_then.append(len(started))
        return plain(piece, columns, partitions)

    started_by_then: list[int] = []
    monkeypatch.setattr(ParquetDatasetPiece, "read", slow_first)
    read(files, shuffle=False, reader_threads=2)
    assert started_by_then[0] <= 4  # one for each of 2 threads, and 2 ahead
    assert len(started) == 9


def write_column(folder: Path, values: pa.Array, **options: Any) -> str:
    pq.write_table(pa.table({"user_num": range(len(values)), "seen": values}), folder / "part.parquet", **options)
    return str(folder / "part.parquet")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array(["a", "b"]), "column seen has type string, expected integers"),
        (pa.array([["a"], ["b"]]), "column seen has type list<element: string>, expected integers"),
        (pa.array([[1, 2], [3]]), "column seen: lists of 1 to 2 values, expected equal lengths"),
        (pa.array([1, None]), "column seen: 1 nulls, expected none"),
        (pa.array([1.5, None]), "column seen: 1 nulls, expected none"),
        (pa.array([[1, 2], None]), "column seen: 1 nulls, expected none"),
        (pa.array([[1, 2], [3, None]]), "column seen: 1 nulls, expected none"),
    ],
)
def test_a_column_that_is_no_tensor_is_named_with_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: pa.Array, message: str
) -> None:
    file = write_column(tmp_path, values)
    with pytest.raises(CrossRecError) as caught:
        read([file], columns=["user_num", "seen"])
    assert message in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caplog.records == []


def test_lists_of_another_length_in_a_later_row_group_are_refused(tmp_path: Path) -> None:
    file = write_column(tmp_path, pa.array([[1, 2], [3, 4], [5], [6]]), row_group_size=2)
    with pytest.raises(CrossRecError, match=r"column seen: lists of 1 values, 2 in the row groups before"):
        read([file], columns=["seen"], shuffle=False)


def test_a_missing_column_is_named_with_its_file(files: list[str]) -> None:
    with pytest.raises(CrossRecError, match=r"part-000.parquet: column run_id is missing, the file has user_num"):
        read(files, columns=["user_num", "run_id"])


def test_a_broken_row_group_is_one_line_and_leaves_no_thread(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_column(tmp_path, pa.array(np.arange(1000)), compression="none", use_dictionary=False)
    content = bytearray(Path(file).read_bytes())
    content[4:60] = b"\xff" * 56
    Path(file).write_bytes(content)
    before = reader_threads()
    with pytest.raises(CrossRecError, match=r"part.parquet: row group 0 cannot be read .*; write the file again$"):
        read([file])
    assert reader_threads() == before
    assert capfd.readouterr().err == ""


def test_files_and_row_groups_without_rows_are_passed_over(files: list[str], tmp_path: Path) -> None:
    pq.write_table(make_table(0, 0), tmp_path / "none.parquet")
    assert sorted(user_nums(read([str(tmp_path / "none.parquet"), *files]))) == list(range(NUM_ROWS))


def test_a_petastorm_reader_that_cannot_be_put_in_order_is_refused(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(files)
    before, plain = reader_threads(), sys.modules["petastorm.reader"].make_batch_reader

    @functools.wraps(plain)
    def without_a_result_queue(*args: Any, **options: Any) -> Any:
        reader = plain(*args, **options)
        del reader._results_queue_reader
        return reader

    monkeypatch.setattr("petastorm.reader.make_batch_reader", without_a_result_queue)
    with pytest.raises(CrossRecError, match=r"do not fit together: its reader has no _results_queue_reader; install"):
        read(files)
    assert reader_threads() == before


def test_reading_warns_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2)  # a type Petastorm does not know
    table = pa.table({"item": [1, 2], "items": [3, 4], "user_num": [5, 6], "fixed": fixed})
    pq.write_table(table, tmp_path / "part.parquet")
    read([str(tmp_path / "part.parquet")], columns=["item", "user_num"], shuffle=False)
    assert [str(warning.message) for warning in recwarn] == []
