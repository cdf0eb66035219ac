"""Counts of ratings and likes in, how far an item's and a user's odds of a like lie above the domain's out.

The click probability reads them where labels are values. V candidates of one domain, B users, P pairs of a user and a
candidate, X of either; counts [.., 2] are likes and ratings.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Likes:
    """What is known of likes in one domain."""

    items_V: Tensor  # float64: log odds of each candidate above the domain's
    share: float  # of the domain's ratings that are likes
    strength: float  # ratings of the domain's share that are mixed into everyone's own


def likes_of(counts_V2: Tensor, strength: float) -> Likes:
    """The likes of a domain from those of its candidates (int64), which hold every known rating between them."""
    num_likes, num_rated = counts_V2.sum(dim=0).tolist()
    share = (num_likes + 1) / (num_rated + 2)  # never 0 nor 1 (Laplace's rule)
    return Likes(log_odds(counts_V2, share=share, strength=strength), share, strength)


def log_odds(counts_X2: Tensor, *, share: float, strength: float) -> Tensor:
    """Log odds of a like, shrunk to the domain's ``share``, less the domain's log odds: float64 [X].

    With k likes among n ratings the share is (k + strength * share) / (n + strength), the posterior mean under the
    beta prior of that mean and weight. Exactly 0 where nothing was rated.
    """
    likes_X, rated_X = counts_X2.double().unbind(dim=1)
    return (likes_X / (strength * share)).log1p() - ((rated_X - likes_X) / (strength * (1 - share))).log1p()


def like_features(likes: Likes | None, counts_B2: Tensor | None, rows_P: Tensor, positions_P: Tensor) -> Tensor:
    """Log odds of each pair's item and of its user, float64 [P, 2]; [P, 0] in a domain that is not rated.

    A user's are made pair by pair: in whole tiles of pairs (``block_scores.of_pairs``) they round the same whoever
    else is in the batch. Without ``counts_B2`` nothing is known of any user.
    """
    if likes is None:
        return torch.empty(len(rows_P), 0, dtype=torch.float64)
    counts_P2 = torch.zeros(len(rows_P), 2) if counts_B2 is None else counts_B2[rows_P]
    users_P = log_odds(counts_P2, share=likes.share, strength=likes.strength)
    return torch.stack((likes.items_V[positions_P], users_P), dim=1)
