"""An index by cells: pools from the nearest ones against all candidates."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from crossrec_core.errors import CheckpointError, ConfigError
from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.cells import ABOUT_FILE, CELLS_FILE, Cells, build_cells, num_cells, open_cells
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors

WIDTH, NUM_ITEMS, NUM_USERS = 16, 4000, 32


def draw_around(centres_CD: Tensor, num_rows: int, *, seed: int) -> Tensor:
    """Rows of length one near random centres, as trained vectors lie."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(centres_CD), (num_rows,), generator=generator)
    return normalize(centres_CD[chosen] + 0.5 * torch.randn(num_rows, WIDTH, generator=generator), dim=1)


CENTRES = torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(0))
ITEMS, QUERIES = draw_around(CENTRES, NUM_ITEMS, seed=1), draw_around(CENTRES, NUM_USERS, seed=2)
NOTHING = Ragged(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


def map_vectors(folder: Path, vectors_VD: Tensor, *, shard_bytes: int = 0) -> MappedVectors:
    save_file({"vectors_VD": vectors_VD}, folder / "items.safetensors")
    return MappedVectors(folder / "items.safetensors", "vectors_VD", shard_bytes=shard_bytes)


def build(folder: Path, vectors_VD: Tensor = ITEMS) -> Cells:
    build_cells(folder, map_vectors(folder, vectors_VD), seed=3)
    cells = open_cells(folder, len(vectors_VD))
    assert cells is not None
    return cells


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return build(tmp_path_factory.mktemp("cells"))


def share_found(pool_BM: Tensor, best_BN: Tensor) -> float:
    return float((pool_BM[:, :, None] == best_BN[:, None, :]).any(dim=1).float().mean())


def test_all_cells_hold_the_best_and_few_cells_nearly_all_of_them(cells: Cells) -> None:
    best_BN = (QUERIES @ ITEMS.T).topk(20).indices
    found = {
        num_probes: share_found(cells.draw_pool(QUERIES, 40, NOTHING, num_probes=num_probes), best_BN)
        for num_probes in (1, 16, num_cells(NUM_ITEMS))
    }
    assert found[num_cells(NUM_ITEMS)] == 1
    assert 0.3 < found[1] < found[16]
    assert found[16] > 0.97


def test_a_pool_ascends_and_has_nothing_seen(cells: Cells) -> None:
    best_BN = (QUERIES @ ITEMS.T).topk(10).indices
    seen = Ragged(torch.arange(NUM_USERS).repeat_interleave(10), best_BN.flatten())
    pool_BM = cells.draw_pool(QUERIES, 30, seen, num_probes=num_cells(NUM_ITEMS))
    assert share_found(pool_BM, best_BN) == 0
    assert bool((pool_BM >= 0).all())
    assert bool((pool_BM.diff(dim=1) > 0).all())
    next_BN = (QUERIES @ ITEMS.T).topk(30).indices[:, 10:]
    assert share_found(pool_BM, next_BN) == 1


def test_a_pool_is_as_long_as_asked_for_and_short_where_cells_have_no_more(cells: Cells) -> None:
    pool_BM = cells.draw_pool(QUERIES, 1000, NOTHING, num_probes=1)
    assert pool_BM.shape == (NUM_USERS, 1000)
    num_found_B = (pool_BM >= 0).sum(dim=1)
    assert bool((num_found_B < 1000).all())
    assert bool((num_found_B > 0).all())
    assert pool_BM.sort(dim=1).values.equal(pool_BM)
    everything_BM = cells.draw_pool(QUERIES, NUM_ITEMS + 7, NOTHING, num_probes=num_cells(NUM_ITEMS))
    assert everything_BM[0].tolist() == [-1] * 7 + list(range(NUM_ITEMS))


def test_whoever_is_in_the_batch_changes_no_pool(cells: Cells) -> None:
    seen = Ragged(torch.tensor([0, 0, 2]), torch.tensor([5, 7, 9]))
    whole_BM = cells.draw_pool(QUERIES[:3], 25, seen, num_probes=4)
    alone_BM = cells.draw_pool(QUERIES[1:2], 25, NOTHING, num_probes=4)
    assert whole_BM[1].tolist() == alone_BM[0].tolist()


def test_the_size_of_shards_changes_no_pool(tmp_path: Path, cells: Cells) -> None:
    build_cells(tmp_path, map_vectors(tmp_path, ITEMS, shard_bytes=1), seed=3)
    again = open_cells(tmp_path, NUM_ITEMS)
    assert again is not None
    pools = [own.draw_pool(QUERIES, 25, NOTHING, num_probes=4) for own in (cells, again)]
    assert torch.equal(*pools)


@pytest.mark.parametrize("zero", [False, True])
def test_zero_vectors_are_noticed(tmp_path: Path, zero: bool) -> None:
    vectors_VD = ITEMS[:100].clone()
    vectors_VD[70] *= not zero
    assert build(tmp_path, vectors_VD).has_zeros == zero


def test_small_catalogues_have_one_cell_and_large_ones_many() -> None:
    assert [num_cells(number) for number in (0, 1, 40, 4000, 1_000_000, 10_000_000)] == [1, 1, 1, 102, 4096, 16384]


def test_without_an_index_there_is_none_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert open_cells(tmp_path, NUM_ITEMS) is None
    build(tmp_path)
    with pytest.raises(CheckpointError, match="holds 4,000 candidates, expected 4,001; delete it and score again"):
        open_cells(tmp_path, NUM_ITEMS + 1)
    (tmp_path / CELLS_FILE).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"cells\.faiss: cannot be read; delete it and score again"):
        open_cells(tmp_path, NUM_ITEMS)
    (tmp_path / ABOUT_FILE).unlink()
    assert open_cells(tmp_path, NUM_ITEMS) is None


def test_without_faiss_nothing_is_built_or_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    build(tmp_path)
    usual = builtins.__import__

    def without_faiss(name: str, *others: Any, **named: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return usual(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    missing = r"^[^\n]*not installed; pip install 'crossrec\[faiss\]', or use 'compressed'$"
    with pytest.raises(ConfigError, match=missing):
        open_cells(tmp_path, NUM_ITEMS)
    with pytest.raises(ConfigError, match=missing):
        build_cells(tmp_path, map_vectors(tmp_path, ITEMS), seed=3)
