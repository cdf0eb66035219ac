from pathlib import Path

import pytest
import torch

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.meta_learning.meta_artifacts import AboutHead, load_head, save_head
from crossrec_core.tensors.meta_learning.meta_heads import HEADS, HeadConfig
from crossrec_core.tensors.meta_learning.meta_validation import Platt
from tests.tensors.meta_learning.test_meta_heads import F, make_head, make_tasks


def save(folder: Path, method: str) -> AboutHead:
    about = AboutHead(
        HeadConfig(method, F, 2, 6, 5, 2, 0.3), "f00d", 2, 0.25, {"films": Platt(1.5, -0.5)}, {"films": True}, {"a": 1}
    )
    save_head(str(folder), make_head(method), about)
    return about


@pytest.mark.parametrize("method", list(HEADS))
def test_a_loaded_head_answers_as_the_saved_one(method: str, tmp_path: Path) -> None:
    about = save(tmp_path / "head", method)
    head, found = load_head(str(tmp_path / "head"), id_fingerprint="f00d")
    assert found == about
    assert torch.equal(head(make_tasks()), make_head(method)(make_tasks()))


def test_a_head_for_other_ids_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "head", "bayes")
    with pytest.raises(CheckpointError, match=r"run jobs/meta_train\.py again"):
        load_head(str(tmp_path / "head"), id_fingerprint="beef")


def test_a_missing_head_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_head(str(tmp_path / "none"))
