"""Scores and ratings of each task's query in, P@5 and NDCG@5 under both meanings of relevant out.

T tasks, Q query ratings, N list length.

top5      the five best rated of the ten. Where ratings tie at the fifth place, those that tie share what is left of the
          five: both measures are linear in relevance here, so this is their mean over all ways to break the tie
rating4   rated 4 or 5. A task without any such rating has no NDCG
Scores that tie keep the query's order, which is random.
"""

import torch
from torch import Tensor

N = 5
TOP5, RATING4 = "top5", "rating4"
LIKED = 4.0


def relevance(ratings_TQ: Tensor, kind: str) -> Tensor:
    """How relevant each of the query's films is, 0 to 1, float64 [T, Q]."""
    if kind == RATING4:
        return (ratings_TQ >= LIKED).double()
    fifth_T1 = ratings_TQ.sort(dim=1, descending=True).values[:, N - 1 : N]
    above_TQ, ties_TQ = ratings_TQ > fifth_T1, ratings_TQ == fifth_T1
    left_T1 = N - above_TQ.sum(dim=1, keepdim=True)
    return above_TQ.double() + ties_TQ * left_T1 / ties_TQ.sum(dim=1, keepdim=True)


def measure_query(scores_TQ: Tensor, ratings_TQ: Tensor, kind: str) -> dict[str, Tensor]:
    """``p`` and ``ndcg`` of the five best scores, float64 [T]; NaN where there is nothing to find."""
    relevance_TQ = relevance(ratings_TQ, kind)
    order_TN = scores_TQ.argsort(dim=1, descending=True, stable=True)[:, :N]
    gained_TN = relevance_TQ.gather(1, order_TN)
    discounts_N = 1 / torch.arange(2, N + 2, dtype=torch.float64).log2()
    total_T = relevance_TQ.sum(dim=1).round().long().clamp(max=N)
    ideal_T = torch.cat((discounts_N.new_zeros(1), discounts_N.cumsum(0)))[total_T]
    ndcg_T = torch.where(total_T > 0, gained_TN @ discounts_N / ideal_T.clamp(min=1e-9), torch.nan)
    return {"p": gained_TN.mean(dim=1), "ndcg": ndcg_T}


def tuning_value(scores_TQ: Tensor, ratings_TQ: Tensor) -> float:
    """What everything is tuned by: the mean NDCG@5 over both meanings."""
    values = [float(measure_query(scores_TQ, ratings_TQ, kind)["ndcg"].nanmean()) for kind in (TOP5, RATING4)]
    return sum(values) / len(values)
