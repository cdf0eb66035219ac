import torch

from crossrec_core.tensors.candidates import Candidates
from crossrec_core.tensors.shortlist import Shortlist, draw_listed, draw_up, is_listed
from tests.tensors.worlds import random_columns, tiny_model

NUMS_V = torch.arange(1, 11)
CANDIDATES = Candidates({1: NUMS_V}, {1: torch.linspace(0.01, 0.19, 10)}, {}, {}, "f")


def draw(num_ranked: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, Shortlist]:
    columns = random_columns(40, 6)
    known_R = (columns["item_nums"] != 0).sum(dim=1) // 2
    seen_RL = columns["item_nums"] * (torch.arange(6) < known_R.unsqueeze(1))
    listed = draw_up(
        tiny_model(), columns, known_R, 1, CANDIDATES, left_out_RL=seen_RL, num_ranked=num_ranked
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
    _, _, listed = draw(3)
    items_RQ = NUMS_V.expand(40, 10)
    found_RQ = is_listed(listed, items_RQ, NUMS_V)
    assert torch.equal(found_RQ, listed.scores_RV >= listed.least_R1)
    assert found_RQ.gather(1, listed.items_RM - 1).all()
    assert (found_RQ.sum(dim=1) > 3).any(), "what a user knew before may be asked again"
    assert not is_listed(listed, torch.full((40, 1), 15), NUMS_V).any()


def test_negatives_are_drawn_from_each_rows_own_list() -> None:
    _, _, listed = draw(3)
    drawn_RQN = draw_listed(listed, num_events=5, num_negatives=20, generator=torch.Generator().manual_seed(0))
    assert drawn_RQN.shape == (40, 5, 20)
    for at in range(40):
        assert set(drawn_RQN[at].flatten().tolist()) == set(listed.items_RM[at].tolist())
