"""Pairs of a user and an item in, P(y=1|u,c) = sigmoid(w . phi(u,c)) out; and its calibration.

phi comes from the large model. P pairs, D width, F = NUM_FEATURES. A refit turns the model's coordinates as it likes,
so phi holds nothing but what a rotation leaves alone: weights fitted with one model then hold for its refits.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from crossrec_core.tensors.folders import read_json, read_tensors, write_json

NUM_FEATURES = 8
POPULARITY_FLOOR = 1e-6
SHORTEST = 1e-12  # product of two lengths below which a cosine is 0
MIN_CALIBRATION_PAIRS = 50
_HASH = 0x9E3779B97F4A7C1  # odd: neighbouring numbers fall into different halves


@dataclass(frozen=True)
class Ranker:
    """The fitted probability: sigmoid(slope * logit + offset), logit = w . (phi - mean) / scale."""

    weights_F: Tensor  # float64, the last one is the intercept's
    mean_F: Tensor  # float64, 0 for the constant feature
    scale_F: Tensor  # float64, 1 for constant features
    slope: float
    offset: float
    num_pairs: int


def pair_features(
    queries_PD: Tensor, vectors_PD: Tensor, popularity_P: Tensor, length_P: Tensor, is_cold_P: Tensor
) -> Tensor:
    """phi(u,c), float64 [P, NUM_FEATURES].

    query . item, their cosine, both lengths, log popularity share (floored at one in a million), log(1 + events in the
    sequence), whether the user has no event in the domain, and 1.
    """
    queries_PD, vectors_PD = queries_PD.double(), vectors_PD.double()
    dot_P = (queries_PD * vectors_PD).sum(dim=1)
    query_length_P, vector_length_P = queries_PD.norm(dim=1), vectors_PD.norm(dim=1)
    features = (
        dot_P,
        dot_P / (query_length_P * vector_length_P).clamp(min=SHORTEST),
        query_length_P,
        vector_length_P,
        popularity_P.double().clamp(min=POPULARITY_FLOOR).log(),
        length_P.double().log1p(),
        is_cold_P.double(),
        torch.ones_like(dot_P),
    )
    return torch.stack(features, dim=1)


def fit_ranker(phi_PF: Tensor, labels_P: Tensor, groups_P: Tensor, *, l2: float = 10.0) -> Ranker:
    """Fit w by logistic regression on one half of the users and calibrate it on the other (Platt 1999).

    ``groups_P`` are user numbers: a user's pairs stay in one half. ``l2`` is the penalty l2/2 |w|^2 beside the summed
    log loss. Without ``MIN_CALIBRATION_PAIRS`` pairs of both labels in the second half w is fitted on all pairs and
    left uncalibrated. Deterministic.
    """
    labels_P = labels_P.double()
    second_P = half_of(groups_P) == 1
    can_calibrate = int(second_P.sum()) >= MIN_CALIBRATION_PAIRS and _has_both(labels_P[second_P])
    can_calibrate = can_calibrate and _has_both(labels_P[~second_P])
    fitted_P = ~second_P if can_calibrate else torch.ones_like(second_P)
    mean_F, scale_F = _standardise(phi_PF[fitted_P])
    x_PF = (phi_PF.double() - mean_F) / scale_F
    penalty_F = torch.full_like(mean_F, l2)
    penalty_F[-1] = 0
    weights_F = _logistic_regression(x_PF[fitted_P], labels_P[fitted_P], penalty_F)
    slope, offset = 1.0, 0.0
    if can_calibrate:
        logits_P = x_PF[second_P] @ weights_F
        platt_P2 = torch.stack((logits_P, torch.ones_like(logits_P)), dim=1)
        slope, offset = _logistic_regression(platt_P2, labels_P[second_P], torch.tensor([1e-3, 0.0]).double()).tolist()
    return Ranker(weights_F, mean_F, scale_F, slope, offset, len(labels_P))


def probability(ranker: Ranker, phi_PF: Tensor) -> Tensor:
    """The calibrated probability of each pair, float64 [P]."""
    logits_P = (phi_PF.double() - ranker.mean_F) / ranker.scale_F @ ranker.weights_F
    return torch.sigmoid(ranker.slope * logits_P + ranker.offset)


def half_of(groups_P: Tensor) -> Tensor:
    """0 or 1 for each user number, by a multiplicative hash."""
    return (groups_P * _HASH >> 40) & 1


def save_ranker(folder: Path, ranker: Ranker) -> None:
    """Write ``ranker.safetensors`` and ``ranker.json`` into a local folder."""
    content = asdict(ranker)
    tensors = {name: content.pop(name).contiguous() for name in ("weights_F", "mean_F", "scale_F")}
    save_file(tensors, folder / "ranker.safetensors")
    write_json(folder / "ranker.json", content)


def load_ranker(folder: Path) -> Ranker | None:
    """Read what ``save_ranker`` wrote; None when the folder has no ranker."""
    if not (folder / "ranker.json").exists():
        return None
    tensors, numbers = read_tensors(folder / "ranker.safetensors"), read_json(folder / "ranker.json")
    return Ranker(
        tensors["weights_F"], tensors["mean_F"], tensors["scale_F"],
        slope=numbers["slope"], offset=numbers["offset"], num_pairs=numbers["num_pairs"],
    )  # fmt: skip


def _has_both(labels_P: Tensor) -> bool:
    return 0 < int(labels_P.sum()) < len(labels_P)


def _standardise(phi_PF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation; a constant feature keeps its value (the intercept) or weighs nothing."""
    phi_PF = phi_PF.double()
    mean_F, scale_F = phi_PF.mean(dim=0), phi_PF.std(dim=0, correction=0)
    mean_F[-1] = 0
    return mean_F, torch.where(scale_F > 1e-9, scale_F, torch.ones_like(scale_F))


def _logistic_regression(x_PF: Tensor, labels_P: Tensor, penalty_F: Tensor, *, num_steps: int = 100) -> Tensor:
    """Minimise the summed log loss + penalty/2 w^2 by L-BFGS in float64."""
    weights_F = torch.zeros(x_PF.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights_F], max_iter=num_steps, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        log_loss = F.binary_cross_entropy_with_logits(x_PF @ weights_F, labels_P, reduction="sum")
        value = (log_loss + (penalty_F * weights_F**2).sum() / 2) / len(labels_P)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights_F.detach()
