"""Floors against arithmetic, and the closed form that knows users' tastes above them."""

import pytest
import torch

from benchmarks.fewshot_suite import floors
from benchmarks.fewshot_suite.features import describe
from benchmarks.fewshot_suite.item_table import ItemPlan, fit_items
from benchmarks.fewshot_suite.measures import tuning_value
from benchmarks.fewshot_suite.splits import WHOLE, draw_tasks, keep_support
from tests.benchmarks.made_ratings import made_ratings

TRAIN, ASKED = torch.arange(90), torch.arange(90, 120)


@pytest.fixture(scope="module")
def world():
    ratings = made_ratings()
    table = fit_items(ratings.items_UK[TRAIN], ratings.ratings_UK[TRAIN], 41, ItemPlan(1, 3.0, 5.0), seed=1)
    return ratings, table, describe(ratings, table, TRAIN, shrinkage=3.0, prior=0.3)


def drawn_of(ratings, size=WHOLE):
    drawn = draw_tasks(ratings.mask_UK, ASKED, generator=torch.Generator().manual_seed(2))
    return keep_support(drawn, torch.full((30,), size))


def value(ratings, scores_TQ, drawn):
    return tuning_value(scores_TQ, ratings.ratings_UK[drawn.users_T[:, None], drawn.query_TQ])


def test_an_item_mean_is_shrunk_to_the_mean_of_all_training_ratings(world):
    ratings, _, _ = world
    given = ratings.ratings_UK[TRAIN][ratings.items_UK[TRAIN] == 7]
    mean = ratings.ratings_UK[TRAIN][ratings.mask_UK[TRAIN] > 0].mean()
    found = floors.item_means(ratings, TRAIN, 2.0)[7]
    torch.testing.assert_close(found, (given.sum() + 2 * mean) / (len(given) + 2))


def test_a_few_ratings_beat_the_mean_of_all_users(world):
    ratings, table, described = world
    drawn = drawn_of(ratings)
    same = value(ratings, floors.of_query(table.score_V, ratings, drawn), drawn)
    assert value(ratings, floors.item_knn(ratings, described, table, drawn, described.likeness), drawn) > same + 0.03
    assert value(ratings, floors.ridge(described, table, ratings, drawn, penalty=2.0), drawn) > same + 0.1


def test_without_support_the_floors_are_the_item_score(world):
    ratings, table, described = world
    drawn = drawn_of(ratings, 0)
    score_TQ = floors.of_query(table.score_V, ratings, drawn)
    torch.testing.assert_close(floors.ridge(described, table, ratings, drawn, penalty=2.0), score_TQ)
    torch.testing.assert_close(floors.item_knn(ratings, described, table, drawn, described.likeness), score_TQ)


def test_ridge_solves_each_tasks_own_normal_equations(world):
    ratings, table, described = world
    drawn = drawn_of(ratings, 5)
    user, support = drawn.users_T[0], drawn.support_TS[0, :5]
    x_SF = torch.cat((described.film_UKF[user, support], torch.ones(5, 1)), dim=1)
    x_QF = torch.cat((described.film_UKF[user, drawn.query_TQ[0]], torch.ones(10, 1)), dim=1)
    kernel_SS = x_SF @ x_SF.T + 2.0 * torch.eye(5)
    wanted = x_QF @ x_SF.T @ torch.linalg.solve(kernel_SS, described.residual_UK[user, support])
    found_TQ = floors.ridge(described, table, ratings, drawn, penalty=2.0)
    torch.testing.assert_close(found_TQ[0] - floors.of_query(table.score_V, ratings, drawn)[0], wanted)
