"""Drawn tasks and training users in, scores of what learns no prior out: item means, item-kNN, ridge regression.

T tasks, S support ratings, Q query ratings, V films, F features.
"""

import torch
from torch import Tensor

from benchmarks.fewshot_suite.features import Described
from benchmarks.fewshot_suite.item_table import ItemTable, add_by_item
from benchmarks.fewshot_suite.ratings import Ratings
from benchmarks.fewshot_suite.splits import Drawn


def item_means(ratings: Ratings, train: Tensor, shrinkage: float) -> Tensor:
    """Each film's mean rating with ``shrinkage`` ratings of the global mean added, [V]."""
    items_UK, mask_UK, num_items = ratings.items_UK[train], ratings.mask_UK[train], len(ratings.content_VC)
    given_UK = ratings.ratings_UK[train] * mask_UK
    mean = given_UK.sum() / mask_UK.sum()
    total_V, count_V = (add_by_item(items_UK, values, num_items) for values in (given_UK, mask_UK))
    return (total_V + shrinkage * mean) / (count_V + shrinkage)


def of_query(values_V: Tensor, ratings: Ratings, drawn: Drawn) -> Tensor:
    """The value of each queried film, [T, Q]."""
    return values_V[ratings.items_UK[drawn.users_T[:, None], drawn.query_TQ]]


def item_likeness(ratings: Ratings, described: Described, train: Tensor, shrinkage: float) -> Tensor:
    """Cosines of films' residuals over training users, shrunk where few users rated both, [V, V]."""
    num_users, num_items = len(train), len(ratings.content_VC)
    rows_UK = torch.arange(num_users)[:, None].expand_as(ratings.items_UK[train])
    mask_UK = ratings.mask_UK[train]
    residual_UK = described.residual_UK[train]
    residual_UK = (residual_UK - residual_UK.sum(dim=1, keepdim=True) / mask_UK.sum(dim=1, keepdim=True)) * mask_UK
    residual_UV, has_UV = torch.zeros(2, num_users, num_items, dtype=torch.float32)
    residual_UV[rows_UK, ratings.items_UK[train]] = residual_UK.float()
    has_UV[rows_UK, ratings.items_UK[train]] = mask_UK.float()
    residual_UV[:, 0], has_UV[:, 0] = 0, 0
    norm_V = residual_UV.norm(dim=0).clamp(min=1e-6)
    both_VV = has_UV.T @ has_UV
    return (residual_UV.T @ residual_UV) / norm_V[:, None] / norm_V * both_VV / (both_VV + shrinkage)


def item_knn(
    ratings: Ratings, described: Described, table: ItemTable, drawn: Drawn, likeness_VV: Tensor, *, prior: float
) -> Tensor:
    """Item score plus the support's residuals weighed by likeness, ``prior`` of it to a residual of zero, [T, Q]."""
    users_T1 = drawn.users_T[:, None]
    query_TQ, support_TS = (ratings.items_UK[users_T1, at] for at in (drawn.query_TQ, drawn.support_TS))
    said_TS = described.residual_UK[users_T1, drawn.support_TS] * drawn.mask_TS
    said_TS = (
        said_TS - said_TS.sum(dim=1, keepdim=True) / drawn.mask_TS.sum(dim=1, keepdim=True).clamp(min=1)
    ) * drawn.mask_TS
    near_TQS = likeness_VV[query_TQ[:, :, None], support_TS[:, None, :]].double().clamp(min=0) * drawn.mask_TS[:, None]
    personal_TQ = (near_TQS @ said_TS[..., None]).squeeze(2) / (near_TQS.sum(dim=2) + prior)
    return table.score_V[query_TQ] + personal_TQ


def ridge(described: Described, table: ItemTable, ratings: Ratings, drawn: Drawn, *, penalty: float) -> Tensor:
    """Item score plus a regression of each task's own on film features, one penalty for all of them, [T, Q]."""
    users_T1 = drawn.users_T[:, None]
    x_TSF, x_TQF = (with_one(described.film_UKF[users_T1, at]) for at in (drawn.support_TS, drawn.query_TQ))
    x_TSF = x_TSF * drawn.mask_TS[..., None]
    residual_TS = described.residual_UK[users_T1, drawn.support_TS] * drawn.mask_TS
    gram_TFF = x_TSF.transpose(1, 2) @ x_TSF + penalty * torch.eye(x_TSF.shape[2], dtype=torch.float64)
    weights_TF1 = torch.linalg.solve(gram_TFF, x_TSF.transpose(1, 2) @ residual_TS[..., None])
    return of_query(table.score_V, ratings, drawn) + (x_TQF @ weights_TF1).squeeze(2)


def with_one(x_TNF: Tensor) -> Tensor:
    """Add the constant."""
    return torch.cat((x_TNF, torch.ones_like(x_TNF[..., :1])), dim=2)
