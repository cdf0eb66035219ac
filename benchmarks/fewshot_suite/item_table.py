"""Training users' ratings in, what they say about each film out: score, number of ratings, factors.

U users, K ratings of a user (padded), V films, D factors, Z = D + 1 (a user's bias and factors).

A rating is mean + film + user + factors . taste + noise, with normal users: a user's taste has a closed-form posterior,
and films are fitted by expectation-maximisation (factor analysis with missing ratings; Tipping and Bishop 1999), shrunk
to zero. A training user's own rating is taken out of the film again, exactly where it is a sum, so that a head is
trained on films that have not seen its user, as it will be used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BIAS_ROUNDS, EM_ROUNDS = 5, 8
USER_SHRINKAGE = 5.0
BIAS_VARIANCE, NOISE_VARIANCE = 0.2, 0.8  # where EM starts


@dataclass(frozen=True)
class ItemPlan:
    """How films are shrunk: by ``item_shrinkage`` ratings at the mean and ``factor_shrinkage`` users without taste."""

    num_factors: int
    item_shrinkage: float
    factor_shrinkage: float


@dataclass(frozen=True)
class ItemTable:
    """Films by number, 0 = padding; and the same as each training user must see them."""

    mean: float
    score_V: Tensor  # what users who are no easier or harder than others add to the mean
    count_V: Tensor
    factors_VD: Tensor
    own_score_UK: Tensor
    own_count_UK: Tensor
    own_factors_UKD: Tensor


@dataclass(frozen=True)
class Sums:
    """What a film's factors are solved from."""

    products_VDD: Tensor
    targets_VD: Tensor
    products_UDD: Tensor  # of each user: what the user added
    targets_UKD: Tensor


def fit_items(items_UK: Tensor, ratings_UK: Tensor, num_items: int, plan: ItemPlan, *, seed: int) -> ItemTable:
    """Fit ``num_items`` films (numbers 0 to ``num_items`` - 1) to training users."""
    mask_UK = (items_UK > 0).double()
    mean = float((ratings_UK * mask_UK).sum() / mask_UK.sum())
    count_V = add_by_item(items_UK, mask_UK, num_items)
    score_V, users_U = fit_scores(items_UK, ratings_UK - mean, mask_UK, num_items, plan.item_shrinkage)
    free_UK = (ratings_UK - mean - users_U[:, None]) * mask_UK
    total_V = add_by_item(items_UK, free_UK, num_items)
    own_count_UK = (count_V[items_UK] - 1).clamp(min=0)
    own_score_UK = (total_V[items_UK] - free_UK) / (own_count_UK + plan.item_shrinkage)
    residual_UK = (ratings_UK - mean - score_V[items_UK]) * mask_UK
    factors_VD, own_factors_UKD = fit_factors(items_UK, residual_UK, mask_UK, num_items, plan, seed=seed)
    return ItemTable(mean, score_V, count_V, factors_VD, own_score_UK, own_count_UK, own_factors_UKD)


def fit_scores(
    items_UK: Tensor, centred_UK: Tensor, mask_UK: Tensor, num_items: int, shrinkage: float
) -> tuple[Tensor, Tensor]:
    """Films' and users' shrunken offsets [V] and [U], by turns."""
    score_V = torch.zeros(num_items, dtype=torch.float64)
    count_V = add_by_item(items_UK, mask_UK, num_items)
    for _ in range(BIAS_ROUNDS):
        users_U = ((centred_UK - score_V[items_UK]) * mask_UK).sum(dim=1) / (mask_UK.sum(dim=1) + USER_SHRINKAGE)
        score_V = add_by_item(items_UK, (centred_UK - users_U[:, None]) * mask_UK, num_items) / (count_V + shrinkage)
    return score_V, users_U


def fit_factors(
    items_UK: Tensor, residual_UK: Tensor, mask_UK: Tensor, num_items: int, plan: ItemPlan, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Films' factors [V, D], and those that leave each user's own rating out [U, K, D]."""
    generator = torch.Generator().manual_seed(seed)
    factors_VD = torch.randn(num_items, plan.num_factors, generator=generator, dtype=torch.float64) / 10
    factors_VD[0] = 0
    noise, bias = NOISE_VARIANCE, BIAS_VARIANCE
    for _ in range(EM_ROUNDS):
        sums, noise, bias = expect(items_UK, residual_UK, mask_UK, factors_VD, noise, bias)
        shrink_DD = plan.factor_shrinkage * noise * torch.eye(plan.num_factors, dtype=torch.float64)
        factors_VD = solve(sums.products_VDD + shrink_DD, sums.targets_VD)
    others_UKDD = sums.products_VDD[items_UK] - sums.products_UDD[:, None] * mask_UK[:, :, None, None]
    own_factors_UKD = solve(others_UKDD + shrink_DD, sums.targets_VD[items_UK] - sums.targets_UKD)
    return factors_VD, own_factors_UKD


def expect(
    items_UK: Tensor, residual_UK: Tensor, mask_UK: Tensor, factors_VD: Tensor, noise: float, bias: float
) -> tuple[Sums, float, float]:
    """One E-step: sums for the films, and the variances of noise and of users' biases."""
    num_items, num_factors = factors_VD.shape
    known_UKZ = torch.cat((mask_UK[..., None], factors_VD[items_UK] * mask_UK[..., None]), dim=2)
    precision_Z = torch.ones(num_factors + 1, dtype=torch.float64)
    precision_Z[0] = 1 / bias
    gram_UZZ = known_UKZ.transpose(1, 2) @ known_UKZ
    covariance_UZZ = torch.linalg.inv(gram_UZZ / noise + torch.diag(precision_Z))
    taste_UZ = (covariance_UZZ @ (known_UKZ.transpose(1, 2) @ residual_UK[..., None]) / noise).squeeze(-1)
    moments_UZZ = covariance_UZZ + taste_UZ[:, :, None] * taste_UZ[:, None, :]
    products_UDD = moments_UZZ[:, 1:, 1:]
    targets_UKD = (residual_UK[..., None] * taste_UZ[:, None, 1:] - moments_UZZ[:, None, 0, 1:]) * mask_UK[..., None]
    spread_UKDD = products_UDD[:, None] * mask_UK[:, :, None, None]
    missed_UK = (residual_UK - torch.einsum("ukz,uz->uk", known_UKZ, taste_UZ)) * mask_UK
    doubt = torch.einsum("uzy,uyz->", gram_UZZ, covariance_UZZ)
    sums = Sums(
        add_by_item(items_UK, spread_UKDD, num_items), add_by_item(items_UK, targets_UKD, num_items),
        products_UDD, targets_UKD,
    )  # fmt: skip
    return sums, float((missed_UK.square().sum() + doubt) / mask_UK.sum()), float(moments_UZZ[:, 0, 0].mean())


def add_by_item(items_UK: Tensor, values_UK: Tensor, num_items: int) -> Tensor:
    """Sums over the ratings of each film, [V, ...]."""
    total_V = values_UK.new_zeros((num_items, *values_UK.shape[2:]))
    return total_V.index_add(0, items_UK.flatten(), values_UK.flatten(0, 1))


def solve(products_NDD: Tensor, targets_ND: Tensor) -> Tensor:
    """x of products x = targets."""
    solved_ND: Tensor = torch.linalg.solve(products_NDD, targets_ND.unsqueeze(-1)).squeeze(-1)
    return solved_ND
