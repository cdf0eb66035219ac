"""What heads see of a pair comes from the support alone, and of a support pair from the rest of the support."""

from dataclasses import replace

import torch

from benchmarks.fewshot_suite.features import FACTOR_SCALE, describe, to_tasks
from benchmarks.fewshot_suite.item_table import ItemPlan, fit_items
from benchmarks.fewshot_suite.splits import draw_tasks, keep_support
from tests.benchmarks.made_ratings import made_ratings

TRAIN = torch.arange(100)
ASKED = torch.arange(100, 120)


def made(ratings=None):
    ratings = ratings or made_ratings()
    table = fit_items(ratings.items_UK[TRAIN], ratings.ratings_UK[TRAIN], 41, ItemPlan(2, 3.0, 20.0), seed=1)
    return table, describe(ratings, table, TRAIN, shrinkage=3.0, prior=0.3)


def drawn_of(ratings, size):
    drawn = draw_tasks(ratings.mask_UK, ASKED, generator=torch.Generator().manual_seed(2))
    return keep_support(drawn, torch.full((20,), size))


def test_training_users_see_films_without_themselves_and_others_see_all_of_it():
    ratings = made_ratings()
    table, described = made()
    assert torch.equal(described.film_UKF[:100, :, -2:], FACTOR_SCALE * table.own_factors_UKD)
    assert torch.equal(described.film_UKF[100:, :, -2:], FACTOR_SCALE * table.factors_VD[ratings.items_UK[100:]])


def test_what_a_user_gave_to_the_query_changes_no_feature():
    ratings = made_ratings()
    _, described = made()
    drawn = drawn_of(ratings, 5)
    changed_UK = ratings.ratings_UK.clone()
    changed_UK[ASKED[:, None], drawn.query_TQ] = 1.0
    _, other = made(replace(ratings, ratings_UK=changed_UK))
    before, after = to_tasks(described, drawn), to_tasks(other, drawn)
    known = before.support_mask_TK > 0
    assert torch.equal(before.query_TQF, after.query_TQF)
    assert torch.equal(before.support_TKF[known], after.support_TKF[known])
    assert not torch.equal(before.query_labels_TQ, after.query_labels_TQ)


def test_a_support_rating_says_nothing_about_itself():
    ratings = made_ratings()
    _, described = made()
    drawn = drawn_of(ratings, 3)
    changed_UK = ratings.ratings_UK.clone()
    first = drawn.support_TS[:, 0]
    changed_UK[ASKED, first] = 6 - changed_UK[ASKED, first] + 0.5
    _, other = made(replace(ratings, ratings_UK=changed_UK))
    before, after = to_tasks(described, drawn).support_TKF, to_tasks(other, drawn).support_TKF
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_ratings_outside_the_kept_support_change_nothing():
    ratings = made_ratings()
    _, described = made()
    drawn = drawn_of(ratings, 3)
    changed_UK = ratings.ratings_UK.clone()
    changed_UK[ASKED[:, None], drawn.support_TS[:, 3:14]] = 1.0
    _, other = made(replace(ratings, ratings_UK=changed_UK))
    assert torch.equal(to_tasks(described, drawn).query_TQF, to_tasks(other, drawn).query_TQF)


def test_a_support_that_is_not_kept_is_as_if_it_were_not_there():
    ratings = made_ratings()
    _, described = made()
    drawn = drawn_of(ratings, 3)
    short = replace(drawn, support_TS=drawn.support_TS[:, :3], mask_TS=drawn.mask_TS[:, :3])
    padded, bare = to_tasks(described, drawn), to_tasks(described, short)
    torch.testing.assert_close(padded.query_TQF, bare.query_TQF)
    torch.testing.assert_close(padded.support_TKF[:, :3], bare.support_TKF)
    assert (padded.query_TQF[..., -1] == torch.tensor(4.0).log()).all()  # log(1 + 3)


def test_labels_are_graded_from_worst_to_best():
    ratings = made_ratings()
    tasks = to_tasks(made()[1], drawn_of(ratings, 3))
    assert set(tasks.query_labels_TQ.unique().tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
