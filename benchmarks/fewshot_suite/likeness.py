"""Training users' residuals in, how alike two films are out; a training user sees it without what the user gave.

T tasks, U users, K ratings of a user (padded), N ratings asked, S support ratings, V films.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-6


@dataclass(frozen=True)
class Likeness:
    """Cosines of films' residuals over training users, shrunk to zero where few users rated both."""

    products_VV: Tensor  # float32, sums over training users
    both_VV: Tensor  # float32, how many rated both
    items_UK: Tensor
    own_UK: Tensor  # what the user adds: the residual without the user's mean; 0 for users who are not in training
    is_train_U: Tensor
    shrinkage: float  # users who find two films unlike
    prior: float  # likeness to a residual of zero


def fit_likeness(
    items_UK: Tensor, residual_UK: Tensor, train: Tensor, num_items: int, *, shrinkage: float, prior: float
) -> Likeness:
    """Add up the training users."""
    mask_UK = (items_UK > 0).double()
    is_train_U = torch.zeros(len(items_UK), dtype=torch.float64).index_fill(0, train, 1.0)
    own_UK = without_mean(residual_UK, mask_UK) * is_train_U[:, None]
    rows_U1 = torch.arange(len(train))[:, None]
    residual_UV, has_UV = torch.zeros(2, len(train), num_items)
    residual_UV[rows_U1, items_UK[train]] = own_UK[train].float()
    has_UV[rows_U1, items_UK[train]] = mask_UK[train].float()
    has_UV[:, 0] = 0
    return Likeness(residual_UV.T @ residual_UV, has_UV.T @ has_UV, items_UK, own_UK, is_train_U, shrinkage, prior)


def near(likeness: Likeness, users_T: Tensor, asked_TN: Tensor, support_TS: Tensor) -> Tensor:
    """Likeness of the films at some places of users' rows, [T, N, S]; negative ones count as none."""
    users_T1 = users_T[:, None]
    left_TN, right_TS = likeness.items_UK[users_T1, asked_TN], likeness.items_UK[users_T1, support_TS]
    own_TN, own_TS = likeness.own_UK[users_T1, asked_TN], likeness.own_UK[users_T1, support_TS]
    at = (left_TN[:, :, None], right_TS[:, None, :])
    products_TNS = likeness.products_VV[at].double() - own_TN[:, :, None] * own_TS[:, None, :]
    both_TNS = (likeness.both_VV[at].double() - likeness.is_train_U[users_T][:, None, None]).clamp(min=0)
    squares_V = likeness.products_VV.diagonal().double()
    length_TN, length_TS = (
        (squares_V[items] - own.square()).clamp(min=SMALLEST).sqrt()
        for items, own in ((left_TN, own_TN), (right_TS, own_TS))
    )
    cosine_TNS = products_TNS / length_TN[:, :, None] / length_TS[:, None, :]
    return (cosine_TNS * both_TNS / (both_TNS + likeness.shrinkage)).clamp(min=0, max=1)


def weigh(
    likeness: Likeness, users_T: Tensor, asked_TN: Tensor, support_TS: Tensor, said_TNS: Tensor, knows_TNS: Tensor
) -> Tensor:  # fmt: skip
    """Mean of what the known support says, weighed by likeness, [T, N]."""
    near_TNS = near(likeness, users_T, asked_TN, support_TS) * knows_TNS
    return (near_TNS * said_TNS).sum(dim=2) / (near_TNS.sum(dim=2) + likeness.prior)


def without_mean(residual_TS: Tensor, mask_TS: Tensor) -> Tensor:
    """Residuals less their mean over the mask; 0 outside it."""
    mean_T1 = (residual_TS * mask_TS).sum(dim=1, keepdim=True) / mask_TS.sum(dim=1, keepdim=True).clamp(min=1)
    return (residual_TS - mean_T1) * mask_TS
