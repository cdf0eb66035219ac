"""Pairs of a user and an item in, P(y=1|u,c) = sigmoid(w . phi(u,c)) out; and its files (IO).

phi comes from the large model. P pairs, H of them that calibrate, D width, F = NUM_FEATURES, or two more where
the domain is rated. A refit turns the model's coordinates as it likes, so phi holds nothing but what a rotation leaves
alone: weights fitted with one model then hold for its refits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core.tensors.folders import has_file, open_folder, read_json, read_tensors, replace_json, write_json
from crossrec_core.tensors.probability.base_rate import Sampling, among_all, sampling_of, sampling_rate
from crossrec_core.tensors.probability.calibration import MIN_PAIRS, Held, Platt, calibrate_together, has_both
from crossrec_core.tensors.probability.logistic import fit_logistic

NUM_FEATURES = 8
POPULARITY_FLOOR = 1e-6
SHORTEST = 1e-12  # product of two lengths below which a cosine is 0
RANKING = 0.25  # weight of the ranking loss beside the log loss
NUM_FOLDS = 5  # of users: each one's pairs get their logits, to calibrate on, by weights of the others
RANKER_FILE = "ranker.json"
TENSORS = ("weights_F", "mean_F", "scale_F", "held_logits_H", "held_labels_H")
_HASH = 0x9E3779B97F4A7C1  # odd: neighbouring numbers fall into different halves and folds


@dataclass(frozen=True)
class Ranker:
    """The fitted probability: sigmoid(slope * logit + offset), logit = w . (phi - mean) / scale."""

    weights_F: Tensor  # float64, the last one is the intercept's
    mean_F: Tensor  # float64, 0 for the constant feature
    scale_F: Tensor  # float64, 1 for constant features
    slope: float
    offset: float
    num_pairs: int
    sampling: Sampling = field(default_factory=Sampling)
    # float64: what slope and offset are fitted on, kept so that other domains can join in
    held_logits_H: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    held_labels_H: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    num_held_users: int = 0

    @property
    def held(self) -> Held:
        """The pairs under weights of other users, before calibration."""
        return Held(self.held_logits_H, self.held_labels_H, self.num_held_users)


def pair_features(
    queries_PD: Tensor, vectors_PD: Tensor, popularity_P: Tensor, length_P: Tensor, is_cold_P: Tensor,
    likes_P2: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """phi(u,c), float64 [P, NUM_FEATURES], two more in a rated domain.

    query . item, their cosine, both lengths, log popularity share (floored at one in a million), log(1 + events in the
    sequence), whether the user has no event in the domain, ``likes_P2`` (see ``likes.like_features``), and 1.
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
        *(() if likes_P2 is None else likes_P2.unbind(dim=1)),
        torch.ones_like(dot_P),
    )
    return torch.stack(features, dim=1)


def fit_ranker(
    phi_PF: Tensor, labels_P: Tensor, groups_P: Tensor, *, l2: float = 10.0, ranking: float = RANKING,
    negatives_per_positive: int = 0,
) -> Ranker:  # fmt: skip
    """Fit w on all pairs by log loss and a ranking loss, and calibrate it on pairs of users it has not seen.

    ``groups_P`` are user numbers. For the calibration (Platt 1999) each fold of the users gets its logits by weights
    fitted on the others; w itself is of everyone, as users are few. ``l2`` is the penalty l2/2 |w|^2 beside the summed
    losses. Without ``MIN_PAIRS`` pairs, or both labels outside every fold, w is left uncalibrated.
    ``negatives_per_positive`` says how the negatives were sampled; 0 for labels read off the log. Deterministic.
    """
    phi_PF, labels_P = phi_PF.double(), labels_P.double()

    def fit(taught_P: Tensor) -> Ranker:
        mean_F, scale_F = _standardise(phi_PF[taught_P])
        penalty_F = torch.full_like(mean_F, l2)
        penalty_F[-1] = 0
        weights_F = fit_logistic(
            (phi_PF[taught_P] - mean_F) / scale_F, labels_P[taught_P], penalty_F, groups_P=groups_P[taught_P],
            ranking=ranking,
        )  # fmt: skip
        return Ranker(weights_F, mean_F, scale_F, 1.0, 0.0, len(labels_P))

    sampling = sampling_of(labels_P, groups_P, negatives_per_positive=negatives_per_positive)
    ranker = replace(fit(torch.ones_like(groups_P, dtype=torch.bool)), sampling=sampling)
    fold_P = fold_of(groups_P, NUM_FOLDS)
    folds = fold_P.unique().tolist()
    if len(labels_P) < MIN_PAIRS or not all(has_both(labels_P[fold_P != fold]) for fold in folds):
        return ranker
    logits_P = torch.empty_like(labels_P)
    for fold in folds:
        own_P = fold_P == fold
        logits_P[own_P] = _logits(fit(~own_P), phi_PF[own_P])
    num_users = len(groups_P.unique())
    held = replace(ranker, held_logits_H=logits_P, held_labels_H=labels_P, num_held_users=num_users)
    return calibrated(held, calibrate_together({"": held.held})[""])


def calibrated(ranker: Ranker, found: Platt) -> Ranker:
    """The same ranker with another calibration."""
    return replace(ranker, slope=found.slope, offset=found.offset)


def probability(ranker: Ranker, phi_PF: Tensor) -> Tensor:
    """The calibrated probability of each pair among pairs drawn as the fitted ones were, float64 [P]."""
    return torch.sigmoid(ranker.slope * _logits(ranker, phi_PF.double()) + ranker.offset)


def listed_probability(ranker: Ranker, probability_P: Tensor, event_shares_P: Tensor, num_candidates: int) -> Tensor:
    """The probability of a pair among all unseen candidates of a user, float64 [P]; as it is without sampling."""
    if not ranker.sampling:
        return probability_P
    return among_all(probability_P, sampling_rate(ranker.sampling, event_shares_P, num_candidates))


def half_of(groups_P: Tensor) -> Tensor:
    """0 or 1 for each user number, by a multiplicative hash."""
    return (groups_P * _HASH >> 40) & 1


def fold_of(groups_P: Tensor, num_folds: int) -> Tensor:
    """0 to ``num_folds`` - 1 for each user number, by where a multiplicative hash falls in its range."""
    return (groups_P * _HASH >> 40 & 0xFFFFF) * num_folds >> 20


def recalibrate(folders: Mapping[str, str]) -> None:
    """Calibrate one model's rankers of several domains together, in their folders (paths or URLs) by domain.

    Folders without a ranker are left alone. What is written depends on the fits alone, not on calibrations before.
    """
    rankers = {}
    for domain, path in folders.items():
        if has_file(path, RANKER_FILE):
            with open_folder(path) as folder:
                rankers[domain] = load_ranker(folder)
    fitted = {domain: ranker for domain, ranker in rankers.items() if ranker is not None}
    found = calibrate_together({domain: ranker.held for domain, ranker in fitted.items()})
    for domain, ranker in fitted.items():
        replace_json(folders[domain], RANKER_FILE, _numbers_of(calibrated(ranker, found[domain])))


def save_ranker(folder: Path, ranker: Ranker) -> None:
    """Write ``ranker.safetensors`` and ``ranker.json`` into a local folder."""
    save_file({name: getattr(ranker, name).contiguous() for name in TENSORS}, folder / "ranker.safetensors")
    write_json(folder / RANKER_FILE, _numbers_of(ranker))


def load_ranker(folder: Path) -> Ranker | None:
    """Read what ``save_ranker`` wrote; None when the folder has no ranker."""
    if not (folder / RANKER_FILE).exists():
        return None
    content: dict[str, Any] = read_json(folder / RANKER_FILE)
    content |= read_tensors(folder / "ranker.safetensors")
    # A ranker of an older release has neither what calibrates it nor how its pairs were drawn
    return Ranker(**content | {"sampling": Sampling(**content.get("sampling", {}))})


def _logits(ranker: Ranker, phi_PF: Tensor) -> Tensor:
    return (phi_PF - ranker.mean_F) / ranker.scale_F @ ranker.weights_F


def _numbers_of(ranker: Ranker) -> dict[str, Any]:
    """What of a ranker is no tensor."""
    return {name: value for name, value in asdict(ranker).items() if name not in TENSORS}


def _standardise(phi_PF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation; a constant feature keeps its value (the intercept) or weighs nothing."""
    mean_F, scale_F = phi_PF.mean(dim=0), phi_PF.std(dim=0, correction=0)
    mean_F[-1] = 0
    return mean_F, torch.where(scale_F > 1e-9, scale_F, torch.ones_like(scale_F))
