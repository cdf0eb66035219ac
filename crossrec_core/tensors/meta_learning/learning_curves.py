"""Trained heads and held-out users in, paired learning curves over support sizes and the gate's decisions out.

Half of the users tune: they stop the training and calibrate every model alike. The other half judges.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from crossrec_core.tensors.meta_learning.meta_validation import (
    LIST_LENGTH,
    Answer,
    Interval,
    Judged,
    Platt,
    fit_platt,
    judge,
    log_loss,
    paired_interval,
)
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import half_of
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut, take_held_out

WHOLE = "whole"
NDCG, LOG_LOSS = "ndcg", "log_loss"


@dataclass(frozen=True)
class Asking:
    """How held-out users are asked."""

    num_support: int
    num_negatives: int
    num_ranked: int
    seed: int


@dataclass(frozen=True)
class CurvePoint:
    """One model against another, for users left with so many events of the domain."""

    model: str
    baseline: str
    support: str
    metric: str
    n: int
    value: float
    baseline_value: float
    interval: Interval
    num_users: int


def split_users(held_out: HeldOut) -> tuple[HeldOut, HeldOut]:
    """The users that tune and those that judge, by a hash of their number."""
    half_R = half_of(held_out.user_nums_R)
    return take_held_out(held_out, half_R == 0), take_held_out(held_out, half_R == 1)


def calibrate(
    model: SequenceModel, answers: Mapping[str, Answer], tuning: HeldOut, candidates: Candidates, asking: Asking
) -> dict[str, Platt]:
    """Two numbers for each model, from the tuning users' whole histories; without users they change nothing."""
    if len(tuning.truth_RT) == 0:
        return dict.fromkeys(answers, Platt(1.0, 0.0))
    judged = judge(model, answers, tuning, candidates, num_kept=None, **vars(asking))
    return {name: fit_platt(found) for name, found in judged.items()}


def learning_curves(
    model: SequenceModel, answers: Mapping[str, Answer], judging: HeldOut, candidates: Candidates, asking: Asking, *,
    platt: Mapping[str, Platt], pairs: Sequence[tuple[str, str]], support_sizes: Sequence[int], samples: int,
) -> list[CurvePoint]:  # fmt: skip
    """Each pair of models at each support size: the users with at least so many events, cut to the latest of them.

    The whole histories come last, for all users. Sizes that no user has are left out.
    """
    num_own_R = (judging.columns["domain_nums"] == judging.domain_num).sum(dim=1)
    points = []
    for num_kept in [*sorted(support_sizes), None]:
        users = take_held_out(judging, num_own_R >= (num_kept or 0))
        if len(users.truth_RT) == 0:
            continue
        judged = judge(model, answers, users, candidates, num_kept=num_kept, **vars(asking))
        support = WHOLE if num_kept is None else str(num_kept)
        for name, baseline in pairs:
            points += _compare(judged, platt, name, baseline, support, samples=samples, seed=asking.seed)
    return points


def gate(points: Sequence[CurvePoint], *, model: str, baseline: str) -> tuple[bool, str]:
    """Whether a head is on, and why: its NDCG's interval over the baseline's on whole histories is above zero."""
    for point in points:
        if _is_whole_ndcg(point, model) and point.baseline == baseline:
            found = point.interval
            reason = (
                f"ndcg@{point.n} of {model} {point.value:.4f} against {baseline} {point.baseline_value:.4f} on "
                f"{point.num_users} users: {found.difference:+.4f}, interval {found.low:+.4f} to {found.high:+.4f}"
            )
            return found.low > 0, reason
    return False, "no validation users to judge by"


def whole_ndcg(points: Sequence[CurvePoint], model: str) -> float | None:
    """A model's NDCG for users with all their events; None without any."""
    return next((point.value for point in points if _is_whole_ndcg(point, model)), None)


def _is_whole_ndcg(point: CurvePoint, model: str) -> bool:
    return (point.model, point.support, point.metric) == (model, WHOLE, NDCG)


def _compare(
    judged: Mapping[str, Judged], platt: Mapping[str, Platt], model: str, baseline: str, support: str, *,
    samples: int, seed: int,
) -> list[CurvePoint]:  # fmt: skip
    ours, theirs = judged[model], judged[baseline]
    values = {
        (NDCG, LIST_LENGTH): (ours.ndcg_R, theirs.ndcg_R),
        (LOG_LOSS, 0): (log_loss(ours, platt[model]), log_loss(theirs, platt[baseline])),
    }
    points = []
    for (metric, n), (ours_R, theirs_R) in values.items():
        interval = paired_interval(ours_R - theirs_R, samples=samples, seed=seed)
        if math.isnan(interval.difference):
            continue
        num_users = int((~torch.isnan(ours_R)).sum())
        means = (float(ours_R.nanmean()), float(theirs_R.nanmean()))
        points.append(CurvePoint(model, baseline, support, metric, n, *means, interval, num_users))
    return points
