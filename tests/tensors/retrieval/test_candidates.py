import pytest
import torch

from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import CheckpointError, LakeError
from crossrec_core.lake import Lake, candidates_location
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.retrieval.candidates import load_candidates, read_candidates, write_candidates


def popularity_row(item_num, weight, *, domain="thin", purpose="validate", num_events=1):
    return {
        "run_id": "r1", "purpose": purpose, "domain": domain, "item_num": item_num, "num_events": num_events,
        "num_users": 1, "weight": 1.0, "recent_weight": weight,
        "trend_weights": [weight, 1.0], "is_head": False,
    }  # fmt: skip


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path))
    labels = [("domain", "rich", 1), ("domain", "thin", 2), ("action", "buy", 1)]
    rows = [{"run_id": "r1", "kind": kind, "label_name": name, "label_num": num} for kind, name, num in labels]
    write_rows(lake, t.LABEL_IDS, rows, append=True)
    rows = [popularity_row(9, 1.0), popularity_row(4, 3.0), popularity_row(1, 0.0, domain="rich")]
    write_rows(lake, t.ITEM_POPULARITY, rows, append=True)
    return lake


def test_candidates_ascend_and_their_shares_sum_to_one(lake):
    found = read_candidates(lake, "r1", "validate", id_fingerprint="abc")
    assert found.domains == {"rich": 1, "thin": 2}
    assert found.items[2].tolist() == [4, 9]
    assert found.popularity[2].tolist() == [0.75, 0.25]
    assert found.popularity[1].tolist() == [1.0]
    assert found.trends[2].tolist() == [[0.75, 0.25], [0.5, 0.5]]


def test_the_artifact_holds_what_was_read(lake):
    written = write_candidates(lake, "r1", "validate", id_fingerprint="abc")
    loaded = load_candidates(lake.at(candidates_location("r1", "validate")))
    assert loaded.domains == written.domains
    assert loaded.id_fingerprint == "abc"
    assert torch.equal(loaded.items[2], written.items[2])
    assert torch.equal(loaded.popularity[2], written.popularity[2])
    assert torch.equal(loaded.trends[2], written.trends[2])


def test_a_listed_item_without_events_is_cold_whatever_its_weights(lake):
    rows = [popularity_row(7, 0.0, purpose="backtest", num_events=0), popularity_row(3, 0.0, purpose="backtest")]
    write_rows(lake, t.ITEM_POPULARITY, rows, append=True)
    write_candidates(lake, "r1", "backtest", id_fingerprint="abc")
    loaded = load_candidates(lake.at(candidates_location("r1", "backtest")))
    assert candidates_of(loaded, 2).is_cold_V.tolist() == [False, True]
    assert loaded.is_touched(2).tolist() == [True, False]


def test_a_rated_domain_has_the_likes_of_every_candidate(lake):
    counts = {"num_likes": 3, "num_rated": 4}
    where = {"run_id": "r1", "domain": "thin"}
    rows = [
        {**where, "purpose": "validate", "item_num": 9, **counts},
        {**where, "purpose": "serve", "item_num": 4, **counts},
    ]
    write_rows(lake, t.ITEM_LIKES, rows, append=True)
    write_candidates(lake, "r1", "validate", id_fingerprint="abc", like_strengths={"thin": 10.0})
    loaded = load_candidates(lake.at(candidates_location("r1", "validate")))
    assert loaded.likes[2].tolist() == [[0, 0], [3, 4]]
    assert loaded.like_strengths == {2: 10.0}
    assert candidates_of(loaded, 2).likes.share == 4 / 6
    assert candidates_of(loaded, 1).likes is None


def test_that_a_domain_is_rated_is_a_setting_not_what_a_purpose_happens_to_know(lake):
    write_rows(lake, t.ITEM_LIKES, [], append=True)
    found = read_candidates(lake, "r1", "validate", id_fingerprint="abc", like_strengths={"thin": 10.0})
    assert candidates_of(found, 2).likes.items_V.tolist() == [0.0, 0.0]


def test_a_purpose_without_candidates_is_one_line(lake):
    with pytest.raises(LakeError, match=r"no candidates for backtest; run jobs/prepare\.py"):
        read_candidates(lake, "r1", "backtest", id_fingerprint="abc")


def test_a_missing_artifact_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match=r"candidates\.json: cannot be read"):
        load_candidates(str(tmp_path / "none"))
