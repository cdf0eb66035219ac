import pytest
import torch

from crossrec_core.tensors.meta_learning import shortlist
from crossrec_core.tensors.meta_learning.shortlist import Shortlist, draw_listed, draw_up
from crossrec_core.tensors.retrieval.candidates import Candidates
from tests.tensors.worlds import random_columns, tiny_model

NUMS_V = torch.arange(1, 11)
ASKED_Q = torch.tensor([*range(1, 11), 15])  # all candidates, and one that is none
CANDIDATES = Candidates({1: NUMS_V}, {1: torch.linspace(0.01, 0.19, 10)}, {}, {}, "f")


def draw(num_ranked: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, Shortlist]:
    columns = random_columns(40, 6)
    known_R = (columns["item_nums"] != 0).sum(dim=1) // 2
    seen_RL = columns["item_nums"] * (torch.arange(6) < known_R.unsqueeze(1))
    listed = draw_up(
        tiny_model(), columns, known_R, 1, CANDIDATES, left_out_RL=seen_RL, asked_RQ=ASKED_Q.expand(40, -1),
        num_ranked=num_ranked,
    )  # fmt: skip
    return columns, known_R, listed


def test_it_is_the_models_best_of_what_is_not_left_out_and_knows_no_later_event() -> None:
    columns, known_R, listed = draw(3)
    assert (known_R == 0).any()
    assert (known_R > 1).any()
    model = tiny_model()
    for at, known in enumerate(known_R.tolist()):
        events = [columns[name][at : at + 1, : max(known, 1)] * (known > 0) for name in columns]
        with torch.no_grad():
            scores_V = (model.last_query(*events, target_domain=1) @ model.item_vectors(NUMS_V).T)[0]
        if known == 0:
            scores_V = CANDIDATES.popularity[1].log()
        seen = columns["item_nums"][at, :known].tolist()
        best = [num for num in (scores_V.argsort(descending=True) + 1).tolist() if num not in seen]
        assert listed.items_RM[at].tolist() == best[:3]


def test_a_list_longer_than_the_candidates_is_padded() -> None:
    columns, known_R, listed = draw(20)
    for at, known in enumerate(known_R.tolist()):
        own = {num for num in columns["item_nums"][at, :known].tolist() if num <= 10}
        assert sorted(listed.items_RM[at].tolist()) == sorted([0] * len(own) + list({*range(1, 11)} - own))


def test_an_item_is_listed_where_its_score_is_good_enough_left_out_or_not() -> None:
    columns, known_R, listed = draw(3)
    assert listed.is_listed_RQ[:, :10].gather(1, listed.items_RM - 1).all()
    assert not listed.is_listed_RQ[:, 10].any(), "no candidate"
    for at, known in enumerate(known_R.tolist()):
        seen = set(columns["item_nums"][at, :known].tolist())
        others = {num for num in range(1, 11) if listed.is_listed_RQ[at, num - 1]} - set(listed.items_RM[at].tolist())
        assert others <= seen, "nothing unseen is better than what is listed"
    assert (listed.is_listed_RQ.sum(dim=1) > 3).any(), "what a user knew before may be asked again"


def test_a_few_rows_at_a_time_make_the_same_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, at_once = draw(3)
    monkeypatch.setattr(shortlist, "SCORES_AT_ONCE", 35)
    _, _, in_parts = draw(3)
    assert torch.equal(in_parts.items_RM, at_once.items_RM)
    assert torch.equal(in_parts.is_listed_RQ, at_once.is_listed_RQ)


def test_negatives_are_drawn_from_each_rows_own_list() -> None:
    _, _, listed = draw(3)
    drawn_RQN = draw_listed(listed, num_events=5, num_negatives=20, generator=torch.Generator().manual_seed(0))
    assert drawn_RQN.shape == (40, 5, 20)
    for at in range(40):
        assert set(drawn_RQN[at].flatten().tolist()) == set(listed.items_RM[at].tolist())
