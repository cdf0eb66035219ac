"""Rows in any order, the same compact arrays out."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.tensors.closed_form.artifacts import (
    save_artifact,
    to_factor_tensors,
    to_score_tensors,
    to_transition_tensors,
)
from crossrec_core.tensors.folders import read_json, read_tensors
from crossrec_core.tensors.network.checkpoint import About

CANDIDATES_V = torch.tensor([3, 5, 8])
PAIRS = [(5, 8, 0.25), (2, 3, 0.5), (5, 3, 1.0), (2, 8, 2.0)]


def pair_batches(rows: list[tuple[int, int, float]], per_batch: int) -> list[pa.RecordBatch]:
    parts = [rows[start : start + per_batch] for start in range(0, len(rows), per_batch)]
    return [
        pa.RecordBatch.from_pylist(
            [{c.ITEM_NUM: item, c.NEXT_ITEM_NUM: later, c.WEIGHT: weight} for item, later, weight in part]
        )
        for part in parts
    ]


@pytest.mark.parametrize("per_batch", [1, 3, 4])
@pytest.mark.parametrize("rows", [PAIRS, PAIRS[::-1]])
def test_transitions_are_compressed_by_item_number_in_any_order_of_rows(
    rows: list[tuple[int, int, float]], per_batch: int
) -> None:
    tensors = to_transition_tensors(pair_batches(rows, per_batch), CANDIDATES_V)
    assert tensors["indptr"].tolist() == [0, 0, 0, 2, 2, 2, 4]
    assert tensors["positions"].tolist() == [0, 2, 0, 2]
    assert tensors["weights"].tolist() == [0.5, 2.0, 1.0, 0.25]
    assert [tensors[name].dtype for name in ("indptr", "positions", "weights")] == [
        torch.int64, torch.int32, torch.float32,
    ]  # fmt: skip


def test_no_rows_make_an_empty_model() -> None:
    assert to_transition_tensors([], CANDIDATES_V)["indptr"].tolist() == [0, 0]
    assert to_score_tensors([], CANDIDATES_V)["scores_V"].tolist() == [0.0, 0.0, 0.0]
    assert not to_factor_tensors([], CANDIDATES_V)["vectors_VK"].any()


def test_a_row_that_leads_to_no_candidate_is_refused() -> None:
    with pytest.raises(LakeError, match="item number 4 is no candidate"):
        to_transition_tensors(pair_batches([(5, 4, 1.0)], 1), CANDIDATES_V)


def test_scores_lie_by_candidate_position() -> None:
    rows = pa.RecordBatch.from_pylist([{c.ITEM_NUM: 8, c.SCORE: 0.75}, {c.ITEM_NUM: 3, c.SCORE: 0.25}])
    assert to_score_tensors([rows], CANDIDATES_V)["scores_V"].tolist() == [0.25, 0.0, 0.75]


def test_factors_lie_by_item_number_and_candidates_have_theirs() -> None:
    kind = pa.list_(pa.float32())
    rows = pa.record_batch({c.ITEM_NUM: pa.array([9, 5]), c.VECTOR: pa.array([[1.0, 2.0], [3.0, 4.0]], type=kind)})
    tensors = to_factor_tensors([rows], CANDIDATES_V)
    assert tensors["all_vectors_IK"].shape == (10, 2)
    assert tensors["vectors_VK"].tolist() == [[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]
    assert tensors["gram_KK"].tolist() == [[1.0 + 9.0, 2.0 + 12.0], [2.0 + 12.0, 4.0 + 16.0]]


def test_an_artifact_says_what_it_is(tmp_path: Path) -> None:
    about = About("item_scores", "popularity", "books", 2, "f00d", {"half_life_days": 7.0})
    save_artifact(str(tmp_path / "model"), about, {"scores_V": torch.tensor([0.5, 0.25])[::1]})
    assert read_json(tmp_path / "model" / "model.json") == {
        "kind": "item_scores", "model": "popularity", "domain": "books", "domain_num": 2, "id_fingerprint": "f00d",
        "settings": {"half_life_days": 7.0},
    }  # fmt: skip
    assert read_tensors(tmp_path / "model" / "weights.safetensors")["scores_V"].tolist() == [0.5, 0.25]
