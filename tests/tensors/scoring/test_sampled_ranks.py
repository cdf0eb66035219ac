"""Ranks among sampled candidates, against brute force."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.user_batch import Ragged, take_rows, to_user_batch
from crossrec_core.tensors.scoring.sampled_ranks import LoadSampledRanks, sample_unseen
from crossrec_core.tensors.scoring.scorer import load_models
from tests import scoring_world as world
from tests.tensors.scoring.test_scorer import user_rows

SEED = 3
FILMS = torch.tensor(world.ITEMS[1])


def rows_with_items() -> pd.DataFrame:
    """The world's users, each with held-out films 8 and 11 (12 is unknown here: 99), and one book."""
    users = user_rows()
    return users.assign(pair_item_nums_1=[[8, 11, 99]] * len(users), pair_item_nums_2=[[20]] * len(users))


def ranks_of(tmp_path: Path, users: pd.DataFrame, num_negatives: int) -> pd.DataFrame:
    return LoadSampledRanks(world.write_world(tmp_path), num_negatives=num_negatives, seed=SEED)()(users)


@pytest.mark.parametrize("num_negatives", [3, 1000])
def test_ranks_equal_counting_those_ahead(tmp_path: Path, num_negatives: int) -> None:
    users = rows_with_items()
    found = ranks_of(tmp_path, users, num_negatives)
    models = load_models(world.write_world(tmp_path))
    expected = {}
    for model in models:
        domain = model.candidates.domain_num
        items = model.candidates.items_V.tolist()
        for at, user in enumerate(users.itertuples()):
            batch = take_rows(to_user_batch(users, [1, 2]), torch.tensor([at]), domain)
            scores = dict(zip(items, model.score(batch).block(0, len(items))[0].tolist(), strict=True))
            seen = set(getattr(user, f"seen_{domain}") or [])
            own = [item for item in getattr(user, f"pair_item_nums_{domain}") if item in items]
            taken = [items.index(item) for item in seen | set(own)]
            drawn, is_drawn = sample_unseen(
                torch.tensor([user.user_num]), model.candidates.items_V,
                Ragged(torch.zeros(len(taken), dtype=torch.int64), torch.tensor(taken)),
                num_negatives=num_negatives, seed=SEED,
            )  # fmt: skip
            sample = [items[place] for place in drawn[0][is_drawn[0]].tolist()]
            assert not set(sample) & (seen | set(own))
            assert len(sample) == min(num_negatives, len(items) - len(taken))
            for item in own:
                ahead = sum((-scores[other], other) < (-scores[item], item) for other in sample)
                expected[user.user_id, model.model_index, domain, item] = 1 + ahead
    keys = [c.USER_ID, c.MODEL_INDEX, c.DOMAIN_NUM, c.ITEM_NUM]
    assert found.set_index(keys)[c.RANK].to_dict() == expected


def test_batches_change_nothing(tmp_path: Path) -> None:
    users = rows_with_items()
    whole = ranks_of(tmp_path, users, 3)
    parts = pd.concat([ranks_of(tmp_path, users.iloc[[at]], 3) for at in range(len(users))])
    keys = [c.USER_ID, c.MODEL_INDEX, c.DOMAIN_NUM, c.ITEM_NUM]
    pd.testing.assert_series_equal(
        whole.set_index(keys)[c.RANK].sort_index(), parts.set_index(keys)[c.RANK].sort_index()
    )


def test_users_without_held_out_items_give_no_rows(tmp_path: Path) -> None:
    users = user_rows().assign(pair_item_nums_1=None, pair_item_nums_2=None)
    assert ranks_of(tmp_path, users, 3).empty


def test_every_free_candidate_is_drawn_alike_often_and_another_seed_draws_others() -> None:
    users = torch.arange(1, 4001)
    nothing = Ragged(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    drawn, is_drawn = sample_unseen(users, FILMS, nothing, num_negatives=3, seed=1)
    assert is_drawn.all()
    counts = torch.bincount(drawn.flatten(), minlength=len(FILMS)).double()
    expected = 4000 * 3 / len(FILMS)
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi square with 11 degrees, p = .001
    pairs = torch.bincount((drawn[:, 0] * 12 + drawn[:, 1]), minlength=144).double().view(12, 12)
    assert (pairs + pairs.T).fill_diagonal_(1).min() > 0
    other, _ = sample_unseen(users, FILMS, nothing, num_negatives=3, seed=2)
    assert (drawn.sort(dim=1).values != other.sort(dim=1).values).any(dim=1).double().mean() > 0.9
