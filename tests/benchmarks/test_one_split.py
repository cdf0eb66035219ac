"""A whole split on a made-up world: everything is chosen without the test users, and taste is worth its ratings."""

from dataclasses import replace

import pytest
import torch

from benchmarks.fewshot_suite.heads import HeadPlan
from benchmarks.fewshot_suite.one_split import BLEND, SplitPlan, run_split
from benchmarks.fewshot_suite.splits import SIZES, split_users
from tests.benchmarks.made_ratings import made_ratings

QUICK = SplitPlan(
    item_shrinkages=(3.0,), factors=((1, 5.0),), likeness=((10.0, 1.0),), penalties=(2.0, 20.0), num_draws=1,
    heads=HeadPlan(num_epochs=1, steps_per_epoch=4, batch_tasks=32, tuned_steps=(1,), tuned_lrs=(0.1,)),
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return run_split(made_ratings(), "made", 4, QUICK)


def mean(found, **where):
    values = found.values
    for name, wanted in where.items():
        values = values[values[name] == wanted]
    return values["value"].mean()


def test_every_model_is_measured_at_every_size_under_both_meanings(found):
    segments = {f"k={size}" for size in SIZES[:-1]} | {"all"}
    counts = found.values.groupby(["table", "metric", "segment"])["model"].nunique()
    assert set(counts) == {15}
    assert len(counts) == 2 * 2 * len(segments)
    assert set(found.values["segment"]) == segments
    users = made_ratings().user_ids
    tested = {users[row] for row in split_users(len(users), seed=4).test.tolist()}
    assert set(found.values["user_id"]) == tested


def test_what_knows_the_user_beats_the_item_mean_and_more_ratings_help(found):
    where = {"table": "", "metric": "ndcg"}
    floor = mean(found, model="item_mean", segment="all", **where)
    assert mean(found, model=BLEND, segment="all", **where) > floor + 0.1
    assert mean(found, model=BLEND, segment="all", **where) > mean(found, model=BLEND, segment="k=1", **where)
    assert mean(found, model="item_mean", segment="k=0", **where) == pytest.approx(floor)


def test_nothing_is_chosen_by_test_users(found):
    ratings = made_ratings()
    test = split_users(len(ratings.user_ids), seed=4).test
    changed_UK = ratings.ratings_UK.clone()
    changed_UK[test] = (6 - changed_UK[test]) * ratings.mask_UK[test]
    other = run_split(replace(ratings, ratings_UK=changed_UK), "made", 4, QUICK)
    assert other.chosen["chosen"] == found.chosen["chosen"]
    assert not torch.equal(torch.tensor(other.values["value"].to_numpy()[:20]), torch.tensor(
        found.values["value"].to_numpy()[:20]))  # fmt: skip
