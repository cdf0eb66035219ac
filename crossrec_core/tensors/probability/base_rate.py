"""Probabilities among sampled pairs in, probabilities among all unseen candidates out. P pairs.

Every positive is among the pairs and a negative with the rate r at which it was sampled, so the odds there are those of
the whole over r (King and Zeng 2001, prior correction): the logit moves by log r. Half of the negatives are drawn by
popularity, so r is larger for popular items: their odds fall by less.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Draws per user behind the negatives, on average; none where the labels are read off the log."""

    uniform: float = 0.0
    popular: float = 0.0

    def __bool__(self) -> bool:
        return self.uniform + self.popular > 0


def sampling_of(labels_P: Tensor, groups_P: Tensor, *, negatives_per_positive: int) -> Sampling:
    """How the negatives beside these positives were drawn: the first, third... of each positive uniformly."""
    num_users = len(torch.unique(groups_P))
    if not negatives_per_positive or not num_users:
        return Sampling()
    positives = float(labels_P.sum()) / num_users
    popular = negatives_per_positive // 2
    return Sampling(positives * (negatives_per_positive - popular), positives * popular)


def sampling_rate(sampling: Sampling, event_shares_P: Tensor, num_candidates: int) -> Tensor:
    """The probability that a user's negative is among the pairs: float64 [P].

    ``event_shares_P`` are the items' shares of the domain's known events, by which popular negatives are drawn.
    """
    expected_P = sampling.uniform / num_candidates + sampling.popular * event_shares_P.double()
    return -torch.expm1(-expected_P)


def among_all(probability_P: Tensor, rate_P: Tensor) -> Tensor:
    """The probability where every unseen candidate is a pair, float64 [P]: odds times the rate."""
    scaled_P = probability_P * rate_P
    return scaled_P / (scaled_P + 1 - probability_P)
