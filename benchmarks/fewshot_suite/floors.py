"""Drawn tasks and training users in, scores of what learns no prior out: item means, item-kNN, ridge regression.

T tasks, S support ratings, Q query ratings, V films, F features.
"""

import torch
from torch import Tensor

from benchmarks.fewshot_suite.features import Described, with_one
from benchmarks.fewshot_suite.item_table import ItemTable, add_by_item
from benchmarks.fewshot_suite.likeness import Likeness, weigh, without_mean
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


def item_knn(ratings: Ratings, described: Described, table: ItemTable, drawn: Drawn, likeness: Likeness) -> Tensor:
    """Item score plus the support's residuals weighed by likeness, [T, Q]."""
    residual_TS = described.residual_UK[drawn.users_T[:, None], drawn.support_TS]
    said_T1S = without_mean(residual_TS, drawn.mask_TS)[:, None]
    personal_TQ = weigh(likeness, drawn.users_T, drawn.query_TQ, drawn.support_TS, said_T1S, drawn.mask_TS[:, None])
    return of_query(table.score_V, ratings, drawn) + personal_TQ


def ridge(described: Described, table: ItemTable, ratings: Ratings, drawn: Drawn, *, penalty: float) -> Tensor:
    """Item score plus a regression of each task's own on film features, one penalty for all of them, [T, Q]."""
    users_T1 = drawn.users_T[:, None]
    x_TSF, x_TQF = (with_one(described.film_UKF[users_T1, at]) for at in (drawn.support_TS, drawn.query_TQ))
    x_TSF = x_TSF * drawn.mask_TS[..., None]
    residual_TS = described.residual_UK[users_T1, drawn.support_TS] * drawn.mask_TS
    gram_TFF = x_TSF.transpose(1, 2) @ x_TSF + penalty * torch.eye(x_TSF.shape[2], dtype=torch.float64)
    weights_TF1 = torch.linalg.solve(gram_TFF, x_TSF.transpose(1, 2) @ residual_TS[..., None])
    return of_query(table.score_V, ratings, drawn) + (x_TQF @ weights_TF1).squeeze(2)
