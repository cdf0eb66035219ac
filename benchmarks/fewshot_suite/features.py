"""Ratings, a table of films and drawn tasks in, the product's tasks out: features of every pair of user and film.

T tasks, U users, K ratings of a user (padded), S support ratings, Q query ratings, N ratings asked, C content,
F features, X features from the support.

A pair is described by its film (score, number of ratings, year, genres, factors) and by what the support says about it:
the support's residuals weighed by likeness. Those make the head that never adapts an in-context learner. What is said
about a support rating comes from the rest of the support.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fewshot_suite.item_table import ItemTable
from benchmarks.fewshot_suite.likeness import Likeness, fit_likeness, weigh
from benchmarks.fewshot_suite.ratings import Ratings
from benchmarks.fewshot_suite.splits import Drawn
from crossrec_core.tensors.meta_learning.task_features import Tasks

LOWEST, HIGHEST = 1.0, 5.0
DOMAIN = 1  # the product's heads know domains; here is one
SUPPORT_PRIOR = 3.0  # ratings of the mean that the mean residual and the likeness are shrunk by
SCORE, COUNT, NUM_PLAIN = 0, 1, 2  # columns
NUM_SAID = 6  # the last columns: what the support says
FACTOR_SCALE = 3.0  # so that one penalty suits factors, whose tastes have variance 1, and content alike


@dataclass(frozen=True)
class Described:
    """Every rating of every user: film features [U, K, F] and what the user gave beyond mean and film."""

    film_UKF: Tensor
    residual_UK: Tensor
    labels_UK: Tensor  # 0 for the worst rating, 1 for the best
    num_factors: int
    likeness: Likeness  # of films


def describe(ratings: Ratings, table: ItemTable, train: Tensor, *, shrinkage: float, prior: float) -> Described:
    """Film features: score, log count, content, factors; training users see films without their own rating."""
    items_UK = ratings.items_UK
    score_UK, count_UK, factors_UKD = table.score_V[items_UK], table.count_V[items_UK], table.factors_VD[items_UK]
    score_UK[train], count_UK[train], factors_UKD[train] = table.own_score_UK, table.own_count_UK, table.own_factors_UKD
    residual_UK = (ratings.ratings_UK - table.mean - score_UK) * ratings.mask_UK
    counts = ratings.mask_UK[train] > 0
    content_UKC = ratings.content_VC[items_UK]
    content_UKC = content_UKC - content_UKC[train][counts].mean(dim=0)
    log_count_UK = count_UK.log1p()
    plain_UK2 = torch.stack(
        [(values - values[train][counts].mean()) / values[train][counts].std() for values in (score_UK, log_count_UK)],
        dim=2,
    )
    labels_UK = (ratings.ratings_UK - LOWEST).clamp(min=0) / (HIGHEST - LOWEST)
    film_UKF = torch.cat((plain_UK2, content_UKC, FACTOR_SCALE * factors_UKD), dim=2)
    likeness = fit_likeness(items_UK, residual_UK, train, len(ratings.content_VC), shrinkage=shrinkage, prior=prior)
    return Described(film_UKF, residual_UK, labels_UK, factors_UKD.shape[2], likeness)


def to_tasks(described: Described, drawn: Drawn) -> Tasks:
    """The product's tasks, float32; labels are graded."""
    users_T1 = drawn.users_T[:, None]
    support_TSF, query_TQF = (described.film_UKF[users_T1, at] for at in (drawn.support_TS, drawn.query_TQ))
    residual_TS = described.residual_UK[users_T1, drawn.support_TS] * drawn.mask_TS
    num_support = support_TSF.shape[1]
    others_SS = 1 - torch.eye(num_support, dtype=torch.float64)
    all_QS = torch.ones(query_TQF.shape[1], num_support, dtype=torch.float64)
    parts = []
    for at_TN, asked_TNF, knows_NS in ((drawn.support_TS, support_TSF, others_SS), (drawn.query_TQ, query_TQF, all_QS)):
        knows_TNS = knows_NS * drawn.mask_TS[:, None, :]
        said_TNX = from_support(described, drawn, at_TN, asked_TNF, support_TSF, residual_TS, knows_TNS)
        parts.append(torch.cat((asked_TNF, said_TNX), dim=2).float())
    labels = (described.labels_UK[users_T1, at].float() for at in (drawn.support_TS, drawn.query_TQ))
    (support, query), (support_labels, query_labels) = parts, labels
    return Tasks(
        support, support_labels, drawn.mask_TS.float(), query, query_labels, torch.ones_like(query_labels),
        torch.full_like(drawn.users_T, DOMAIN),
    )  # fmt: skip


def from_support(
    described: Described, drawn: Drawn, at_TN: Tensor, asked_TNF: Tensor, support_TSF: Tensor, residual_TS: Tensor,
    knows_TNS: Tensor,
) -> Tensor:  # fmt: skip
    """Residuals of the known support weighed by likeness in genres, factors, year and count, and as item-kNN does;
    their mean; log(1 + k)."""
    num_known_TN = knows_TNS.sum(dim=2)
    mean_TN = (knows_TNS @ residual_TS[..., None]).squeeze(2) / (num_known_TN + SUPPORT_PRIOR)
    said_TNS = (residual_TS[:, None, :] - mean_TN[..., None]) * knows_TNS
    groups = zip(_groups(described, asked_TNF), _groups(described, support_TSF), strict=True)
    likeness = [asked @ known.transpose(1, 2) for asked, known in groups]
    weighed = [(said_TNS * each_TNS).sum(dim=2) / (num_known_TN + SUPPORT_PRIOR) for each_TNS in likeness]
    as_knn_TN = weigh(described.likeness, drawn.users_T, at_TN, drawn.support_TS, said_TNS, knows_TNS)
    return torch.stack([*weighed, as_knn_TN, mean_TN, num_known_TN.log1p()], dim=2)


def _groups(described: Described, x_TNF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Genres of length 1, factors, and number of ratings with year."""
    first_factor = x_TNF.shape[2] - described.num_factors
    genres = F.normalize(x_TNF[..., NUM_PLAIN : first_factor - 1], dim=2)
    plain = torch.cat((x_TNF[..., COUNT : COUNT + 1], x_TNF[..., first_factor - 1 : first_factor]), dim=2)
    return genres, x_TNF[..., first_factor:], plain


def with_one(x_TNF: Tensor) -> Tensor:
    """Add the constant."""
    return torch.cat((x_TNF, torch.ones_like(x_TNF[..., :1])), dim=2)
