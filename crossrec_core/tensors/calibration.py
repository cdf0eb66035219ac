"""Logits and labels of pairs that nothing was fitted on in, each domain's map from logits to probabilities out.

P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossrec_core.tensors.logistic import fit_logistic

MIN_PAIRS = 50
HALF_OWN = 2000  # pairs with which a domain's own map and the common one weigh the same


@dataclass(frozen=True)
class Held:
    """The pairs that a domain is calibrated on."""

    logits_P: Tensor  # float64
    labels_P: Tensor  # float64


@dataclass(frozen=True)
class Platt:
    """sigmoid(slope * logit + offset)."""

    slope: float = 1.0
    offset: float = 0.0


def fit_platt(held: Held) -> Platt | None:
    """The map with the smallest log loss (Platt 1999); None with fewer than MIN_PAIRS pairs or one label only."""
    if len(held.labels_P) < MIN_PAIRS or not has_both(held.labels_P):
        return None
    x_P2 = torch.stack((held.logits_P, torch.ones_like(held.logits_P)), dim=1)
    slope, offset = fit_logistic(x_P2, held.labels_P, torch.tensor([1e-3, 0.0]).double()).tolist()
    return Platt(slope, offset)


def calibrate_together(held: Mapping[str, Held]) -> dict[str, Platt]:
    """Each domain's map: its own, shrunk to that of the pairs of all domains.

    With n pairs a domain's own map weighs n / (n + HALF_OWN); a domain that cannot have one takes the common one, and
    nothing is changed where there is none either.
    """
    whole = Held(
        torch.cat([torch.empty(0).double(), *(each.logits_P for each in held.values())]),
        torch.cat([torch.empty(0).double(), *(each.labels_P for each in held.values())]),
    )
    common = fit_platt(whole) or Platt()
    return {domain: _between(common, fit_platt(each), len(each.labels_P)) for domain, each in held.items()}


def has_both(labels_P: Tensor) -> bool:
    """Whether there are ones and zeros."""
    return 0 < int(labels_P.sum()) < len(labels_P)


def _between(common: Platt, own: Platt | None, num_pairs: int) -> Platt:
    if own is None:
        return common
    weight = num_pairs / (num_pairs + HALF_OWN)
    return Platt(weight * own.slope + (1 - weight) * common.slope, weight * own.offset + (1 - weight) * common.offset)
