"""The product's heads over films' features: they start from the item score and learn what a few ratings say."""

import pytest
import torch

from benchmarks.fewshot_suite.features import describe, to_tasks
from benchmarks.fewshot_suite.heads import BAYES_LINEAR, Asked, HeadPlan, LinearBayesHead, fit_heads, judge
from benchmarks.fewshot_suite.item_table import ItemPlan, fit_items
from benchmarks.fewshot_suite.one_split import truth_of
from benchmarks.fewshot_suite.splits import draw_tasks, keep_support
from crossrec_core.tensors.meta_learning.meta_heads import HEADS, POOLED
from tests.benchmarks.made_ratings import made_ratings

TRAIN, VALID = torch.arange(90), torch.arange(90, 120)
PLAN = HeadPlan(
    num_epochs=2, steps_per_epoch=5, batch_tasks=32, learning_rates=(0.02,), tuned_steps=(1, 2), tuned_lrs=(0.1,)
)


@pytest.fixture(scope="module")
def world():
    ratings = made_ratings()
    table = fit_items(ratings.items_UK[TRAIN], ratings.ratings_UK[TRAIN], 41, ItemPlan(1, 3.0, 5.0), seed=1)
    described = describe(ratings, table, TRAIN, shrinkage=3.0, prior=0.3)
    drawn = draw_tasks(ratings.mask_UK, VALID, generator=torch.Generator().manual_seed(2))
    return ratings, described, drawn


def asked_of(world, size):
    ratings, described, drawn = world
    drawn = keep_support(drawn, torch.full((len(VALID),), size))
    return Asked(to_tasks(described, drawn), truth_of(ratings, drawn))


def test_the_linear_head_starts_from_the_item_score_and_uses_the_support_at_once(world):
    nothing = asked_of(world, 0).tasks
    head = LinearBayesHead(nothing.query_TQF.shape[2])
    order_TQ = head(nothing).argsort(dim=1)
    assert (order_TQ == nothing.query_TQF[..., 0].argsort(dim=1)).float().mean() > 0.9  # doubt may swap neighbours
    values = [judge(head, [asked_of(world, size)]) for size in (0, 3, 14)]
    assert values[0] + 0.02 < values[1] < values[2]


def test_every_head_of_the_product_is_trained_and_the_best_is_kept(world):
    ratings, described, _ = world
    valid = [asked_of(world, 14), asked_of(world, 3)]
    found = fit_heads(described, ratings.mask_UK, TRAIN, valid, PLAN, seed=1)
    assert set(found) == (set(HEADS) - {POOLED}) | {BAYES_LINEAR, "in_context", "fine_tuned"}
    for name, trained in found.items():
        assert judge(trained.head, valid) == pytest.approx(trained.value, abs=1e-6), name
    assert found[BAYES_LINEAR].value > judge(lambda tasks: tasks.query_TQF[..., 0], valid) + 0.05
    assert found["fine_tuned"].how["inner_steps"] in PLAN.tuned_steps
