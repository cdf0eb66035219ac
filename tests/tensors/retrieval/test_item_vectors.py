"""Vectors of a file, by position, whatever the size of the shards."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.retrieval import item_vectors
from crossrec_core.tensors.retrieval.item_vectors import FLOAT_BYTES, MappedVectors, items_of_shard
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS

WIDTH = 3


def write_rows(folder: Path, num_items: int = 1003) -> tuple[Path, torch.Tensor]:
    rows_VD = torch.randn(num_items, WIDTH, generator=torch.Generator().manual_seed(1))
    save_file({"other": torch.arange(7), "rows_VD": rows_VD}, folder / "rows.safetensors")
    return folder / "rows.safetensors", rows_VD


@pytest.mark.parametrize("shard_items", [1, 7, 500, 1002, 1003, 5000])
def test_slices_and_places_are_those_of_the_whole_table_for_shards_of_any_size(
    tmp_path: Path, shard_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_vectors, "BLOCK_ITEMS", 1)
    file, rows_VD = write_rows(tmp_path)
    vectors_at = MappedVectors(file, "rows_VD", shard_bytes=shard_items * WIDTH * FLOAT_BYTES)
    assert vectors_at.shard_items == shard_items
    for lo, hi in ((0, 1003), (0, 1), (5, 9), (499, 777), (1002, 1003), (1000, 2000), (3, 3)):
        assert torch.equal(vectors_at(slice(lo, hi)), rows_VD[lo:hi])
    for places in ([], [0], [1002, 0, 6, 7, 7, 501, 500], list(range(0, 1003, 5))):
        assert torch.equal(vectors_at(torch.tensor(places, dtype=torch.int64)), rows_VD[places])


def test_a_slice_outlives_its_shard_and_the_file_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_vectors, "BLOCK_ITEMS", 1)
    file, rows_VD = write_rows(tmp_path)
    vectors_at = MappedVectors(file, "rows_VD", shard_bytes=100 * WIDTH * FLOAT_BYTES)
    file.unlink()
    first = vectors_at(slice(0, 10))
    assert torch.equal(vectors_at(slice(900, 1003)), rows_VD[900:])
    assert torch.equal(first, rows_VD[:10])


def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    file, rows_VD = write_rows(tmp_path, num_items=0)
    vectors_at = MappedVectors(file, "rows_VD")
    assert torch.equal(vectors_at(slice(0, 5)), rows_VD)
    assert torch.equal(vectors_at(torch.empty(0, dtype=torch.int64)), rows_VD)


def test_a_shard_is_whole_blocks_of_scores_and_at_least_one() -> None:
    assert items_of_shard(1, 64) == BLOCK_ITEMS
    assert items_of_shard(3 * BLOCK_ITEMS * 64 * FLOAT_BYTES - 1, 64) == 2 * BLOCK_ITEMS


def test_what_is_missing_broken_or_of_another_type_is_one_line(tmp_path: Path) -> None:
    file, _ = write_rows(tmp_path)
    (tmp_path / "broken").write_bytes(b"\xff" * 20)
    for path, name in ((tmp_path / "absent", "rows_VD"), (tmp_path / "broken", "rows_VD"), (file, "absent")):
        with pytest.raises(CheckpointError, match=f"{path.name}: has no {name} that can be read; run the step"):
            MappedVectors(path, name)
    with pytest.raises(CheckpointError, match=r"other is I64 \[7\]; expected float32 rows; run the step"):
        MappedVectors(file, "other")
