"""What training users say of films, and that a training user is told it without the user's own rating."""

import torch

from benchmarks.fewshot_suite import item_table
from benchmarks.fewshot_suite.item_table import (
    BIAS_VARIANCE,
    NOISE_VARIANCE,
    ItemPlan,
    expect,
    fit_factors,
    fit_items,
    fit_scores,
)
from tests.benchmarks.made_ratings import NUM_RATED, made_ratings

PLAN = ItemPlan(num_factors=1, item_shrinkage=2.0, factor_shrinkage=1.0)


def fit(ratings, rows=slice(None)):
    return fit_items(ratings.items_UK[rows], ratings.ratings_UK[rows], len(ratings.content_VC), PLAN, seed=1)


def test_scores_follow_the_films_quality_and_users_who_are_hard_do_not_lower_them():
    ratings = made_ratings()
    quality_V = torch.cat((torch.zeros(1), (torch.arange(40) % 5 - 2.0) / 2)).double()
    found = fit(ratings)
    assert torch.corrcoef(torch.stack((found.score_V[1:], quality_V[1:])))[0, 1] > 0.9
    hard_UK = ratings.ratings_UK - 1.0 * (torch.arange(len(ratings.ratings_UK)) % 3 == 0)[:, None]
    centred_UK = hard_UK - float(hard_UK[ratings.mask_UK > 0].mean())
    _, users_U = fit_scores(ratings.items_UK, centred_UK, ratings.mask_UK, 41, 2.0)
    assert users_U[0::3].mean() < users_U[1::3].mean() - 0.5


def test_the_factor_tells_the_two_genres_apart():
    factors_V = fit(made_ratings()).factors_VD[1:, 0]
    assert (factors_V[0::2].sign() == factors_V[0].sign()).all()
    assert (factors_V[1::2].sign() == -factors_V[0].sign()).all()


def test_a_users_own_rating_is_taken_out_of_score_and_count_as_if_it_had_not_been_given():
    ratings = made_ratings()
    found = fit(ratings)
    mean, mask_UK = found.mean, ratings.mask_UK
    _, users_U = fit_scores(ratings.items_UK, ratings.ratings_UK - mean, mask_UK, 41, PLAN.item_shrinkage)
    film = ratings.items_UK[3, 0]
    others = [(row, place) for row in range(len(mask_UK)) if row != 3
              for place in (ratings.items_UK[row] == film).nonzero().flatten().tolist()]  # fmt: skip
    given = sum(float(ratings.ratings_UK[row, place] - mean - users_U[row]) for row, place in others)
    assert found.own_count_UK[3, 0] == len(others)
    torch.testing.assert_close(found.own_score_UK[3, 0].item(), given / (len(others) + PLAN.item_shrinkage))


def test_a_training_user_sees_factors_that_the_others_sums_make(monkeypatch):
    monkeypatch.setattr(item_table, "EM_ROUNDS", 1)
    ratings = made_ratings()
    items_UK, mask_UK = ratings.items_UK, ratings.mask_UK
    residual_UK = (ratings.ratings_UK - 3) * mask_UK
    start_VD = torch.randn(41, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 10
    start_VD[0] = 0
    variances = (NOISE_VARIANCE, BIAS_VARIANCE)
    _, noise, _ = expect(items_UK, residual_UK, mask_UK, start_VD, *variances)
    others = torch.arange(len(items_UK)) != 3
    sums, *_ = expect(items_UK[others], residual_UK[others], mask_UK[others], start_VD, *variances)
    wanted_VD = sums.targets_VD / (sums.products_VDD[:, 0] + PLAN.factor_shrinkage * noise)
    _, own_UKD = fit_factors(items_UK, residual_UK, mask_UK, 41, PLAN, seed=1)
    torch.testing.assert_close(own_UKD[3, :NUM_RATED], wanted_VD[items_UK[3, :NUM_RATED]])


def test_padding_adds_nothing_to_any_sum():
    ratings = made_ratings()
    residual_UK = (ratings.ratings_UK - 3) * ratings.mask_UK
    factors_VD = torch.ones(41, 1, dtype=torch.float64)
    factors_VD[0] = 0
    wide, *_ = expect(ratings.items_UK, residual_UK, ratings.mask_UK, factors_VD, 0.8, 0.2)
    narrow, *_ = expect(ratings.items_UK[:, :24], residual_UK[:, :24], ratings.mask_UK[:, :24], factors_VD, 0.8, 0.2)
    torch.testing.assert_close(wide.targets_VD, narrow.targets_VD)
    torch.testing.assert_close(wide.products_VDD, narrow.products_VDD)
    assert (wide.targets_VD[0] == 0).all()
