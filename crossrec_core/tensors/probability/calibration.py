"""Logits and labels of pairs that nothing was fitted on in, each domain's map from logits to probabilities out.

P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossrec_core.tensors.probability.logistic import fit_logistic

MIN_PAIRS = 50
HALF_OWN = 300  # users with whom a domain's own map and the common one weigh the same, and the common one and none


@dataclass(frozen=True)
class Held:
    """The pairs that a domain is calibrated on."""

    logits_P: Tensor  # float64
    labels_P: Tensor  # float64
    num_users: int  # whose pairs they are: those of one user go up and down together


@dataclass(frozen=True)
class Platt:
    """sigmoid(slope * logit + offset)."""

    slope: float = 1.0
    offset: float = 0.0


def fit_platt(logits_P: Tensor, labels_P: Tensor) -> Platt | None:
    """The map with the smallest log loss (Platt 1999); None with fewer than MIN_PAIRS pairs or one label only.

    Both float64.
    """
    if len(labels_P) < MIN_PAIRS or not has_both(labels_P):
        return None
    x_P2 = torch.stack((logits_P, torch.ones_like(logits_P)), dim=1)
    slope, offset = fit_logistic(x_P2, labels_P, torch.tensor([1e-3, 0.0]).double()).tolist()
    return Platt(slope, offset)


def calibrate_together(held: Mapping[str, Held]) -> dict[str, Platt]:
    """Each domain's map: its own, shrunk to that of the pairs of all domains, and that one to the identity.

    With the pairs of n users a map weighs n / (n + HALF_OWN): a logistic regression is calibrated but for what differs
    between users, which few of them cannot tell. A domain that cannot have a map of its own takes the common one.
    """
    nothing = torch.empty(0, dtype=torch.float64)
    logits_P = torch.cat([nothing, *(each.logits_P for each in held.values())])
    labels_P = torch.cat([nothing, *(each.labels_P for each in held.values())])
    common = _between(Platt(), fit_platt(logits_P, labels_P), sum(each.num_users for each in held.values()))
    return {
        domain: _between(common, fit_platt(each.logits_P, each.labels_P), each.num_users)
        for domain, each in held.items()
    }


def has_both(labels_P: Tensor) -> bool:
    """Whether there are ones and zeros."""
    return 0 < int(labels_P.sum()) < len(labels_P)


def _between(common: Platt, own: Platt | None, num_users: int) -> Platt:
    if own is None:
        return common
    weight = num_users / (num_users + HALF_OWN)
    return Platt(weight * own.slope + (1 - weight) * common.slope, weight * own.offset + (1 - weight) * common.offset)
