"""Heads and held-out users in, each user's NDCG and log loss out; and the learning curves over support sizes.

R rows (users), L length, V candidates, M re-ranked candidates, N list length, Q truth items, S resamples. The
in-context model picks the candidates, a head ranks them anew: what it cannot change is what is not among the first M.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from crossrec_core.tensors.meta_learning.bayes_head import Prior, Support, predict_primal
from crossrec_core.tensors.meta_learning.shortlist import draw_up
from crossrec_core.tensors.meta_learning.task_features import IN_CONTEXT, Tasks, to_tasks
from crossrec_core.tensors.meta_learning.tasks import (
    Pairs,
    cut_at_end,
    draw_task_negatives,
    keep_latest,
    support_pairs,
    truth_pairs,
)
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut, ndcg, take_held_out

LIST_LENGTH = 10
DRAWS_AT_ONCE = 1_000_000
PLATT_STEPS = 25
PLATT_PRECISION = 1e-3

Answer = Callable[[Tasks], Tensor]  # tasks -> logits of their query, [T, Q]


@dataclass(frozen=True)
class Judged:
    """What a model's answers were worth, and what calibration needs."""

    ndcg_R: Tensor  # float64
    logits_RC: Tensor  # of the truth and its negatives
    labels_RC: Tensor
    mask_RC: Tensor


@dataclass(frozen=True)
class Platt:
    """sigmoid(slope * logit + offset) (Platt 1999)."""

    slope: float
    offset: float


@dataclass(frozen=True)
class Interval:
    """A mean paired difference and its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


def in_context(tasks: Tasks) -> Tensor:
    """The answer of the model as it is: no head, no adaptation."""
    return tasks.query_TQF[..., IN_CONTEXT]


def judge(
    model: SequenceModel, answers: Mapping[str, Answer], held_out: HeldOut, candidates: Candidates, *,
    num_support: int, num_kept: int | None, num_negatives: int, num_ranked: int, seed: int, batch_size: int = 128,
) -> dict[str, Judged]:  # fmt: skip
    """Ask every model about every held-out user; with ``num_kept`` each has only so many events of the domain left.

    NDCG@10 is that of the first ``num_ranked`` candidates of the in-context model, ranked anew; what the user has, cut
    events included, is in no list. Models see the same candidates, negatives and support. The same seed draws the same.
    """
    device = model.items.ids.device
    generator = torch.Generator(device).manual_seed(seed)
    found: dict[str, list[Judged]] = {name: [] for name in answers}
    for start in range(0, len(held_out.truth_RT), batch_size):
        rows_B = torch.arange(start, min(start + batch_size, len(held_out.truth_RT)))
        part = _to(take_held_out(held_out, rows_B), device)
        users = part if num_kept is None else _shortened(part, num_kept)
        tasks, listed = _ask(
            model, users, part.columns["item_nums"], candidates, num_support=num_support,
            num_negatives=num_negatives, num_ranked=num_ranked, generator=generator,
        )  # fmt: skip
        for name, answer in answers.items():
            found[name].append(_judge_batch(answer, tasks, listed, part.truth_RT))
    return {name: _join(parts) for name, parts in found.items()}


def fit_platt(judged: Judged) -> Platt:
    """Two numbers that calibrate a model's logits; they change nothing where there are no pairs."""
    counts_RC = judged.mask_RC > 0
    logits_C = judged.logits_RC[counts_RC].double()
    if len(logits_C) == 0:
        return Platt(1.0, 0.0)
    phi_1C2 = torch.stack((logits_C, torch.ones_like(logits_C)), dim=1).unsqueeze(0)
    labels_1C = judged.labels_RC[counts_RC].double().unsqueeze(0)
    support = Support(phi_1C2, labels_1C, torch.ones_like(labels_1C))
    prior = Prior(logits_C.new_tensor([[1.0, 0.0]]), logits_C.new_full((1, 2), PLATT_PRECISION))
    axes_122 = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    slope, offset = predict_primal(prior, support, axes_122, num_steps=PLATT_STEPS).logits_TQ[0].tolist()
    return Platt(slope, offset)


def log_loss(judged: Judged, platt: Platt) -> Tensor:
    """Mean log loss of each user's pairs, float64 [R]; NaN for a user without any."""
    logits_RC = platt.slope * judged.logits_RC.double() + platt.offset
    losses_RC = F.binary_cross_entropy_with_logits(logits_RC, judged.labels_RC.double(), reduction="none")
    return (losses_RC * judged.mask_RC).sum(dim=1) / judged.mask_RC.double().sum(dim=1)


def paired_interval(difference_R: Tensor, *, samples: int, seed: int) -> Interval:
    """Mean of the users' differences, and its 95 % percentile interval by bootstrap over users (Efron 1979)."""
    difference_R = difference_R[~difference_R.isnan()].double()
    if len(difference_R) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    generator = torch.Generator().manual_seed(seed)
    num_users, means = len(difference_R), []
    at_once = max(DRAWS_AT_ONCE // num_users, 1)
    for start in range(0, samples, at_once):
        drawn_SR = torch.randint(num_users, (min(at_once, samples - start), num_users), generator=generator)
        means.append(difference_R[drawn_SR].mean(dim=1))
    low, high = torch.cat(means).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(difference_R.mean()), low, high)


def _ask(
    model: SequenceModel, users: HeldOut, seen_RL: Tensor, candidates: Candidates, *,
    num_support: int, num_negatives: int, num_ranked: int, generator: Generator,
) -> tuple[Tasks, Tensor]:  # fmt: skip
    """The users' tasks, whose query is the truth with its negatives, then the listed candidates; and those [R, M]."""
    domain_num, truth_RQ = users.domain_num, users.truth_RT
    nums_V, popularity_V = candidates.items[domain_num], candidates.popularity[domain_num]
    cut = cut_at_end(users.columns, domain_num, num_support=num_support)
    negatives_RSN = draw_task_negatives(
        nums_V, popularity_V, num_rows=len(truth_RQ), num_events=num_support + truth_RQ.shape[1],
        num_negatives=num_negatives, generator=generator,
    )  # fmt: skip
    support = support_pairs(users.columns, cut, negatives_RSN[:, :num_support], nums_V)
    seen = {"item_nums": seen_RL}
    asked = truth_pairs(seen, truth_RQ, negatives_RSN[:, num_support:], nums_V, cut.known_R)
    listed_RM = draw_up(
        model, users.columns, cut.known_R, domain_num, candidates,
        left_out_RL=seen_RL * users.exclude_seen, asked_RQ=truth_RQ, num_ranked=num_ranked,
    ).items_RM  # fmt: skip
    query = Pairs(
        torch.cat((asked.items_RC, listed_RM), dim=1), F.pad(asked.labels_RC, (0, listed_RM.shape[1])),
        F.pad(asked.mask_RC, (0, listed_RM.shape[1])),
        torch.cat((asked.known_RC, cut.known_R.unsqueeze(1).expand_as(listed_RM)), dim=1),
    )  # fmt: skip
    return to_tasks(model, users.columns, support, query, domain_num, candidates), listed_RM


def _judge_batch(answer: Answer, tasks: Tasks, listed_RM: Tensor, truth_RQ: Tensor) -> Judged:
    with torch.no_grad():
        logits_RC = answer(tasks)
    num_asked = logits_RC.shape[1] - listed_RM.shape[1]
    ranked_RM = logits_RC[:, num_asked:].masked_fill(listed_RM == 0, -torch.inf)
    order_RM = ranked_RM.argsort(dim=1, descending=True, stable=True)[:, :LIST_LENGTH]
    top_RN = torch.where(listed_RM == 0, -1, listed_RM).gather(1, order_RM)
    asked = (tasks.query_labels_TQ, tasks.query_mask_TQ)
    labels_RC, mask_RC = (values[:, :num_asked].cpu() for values in asked)
    gained_R = ndcg(top_RN, truth_RQ, n=LIST_LENGTH).double().cpu()
    return Judged(gained_R, logits_RC[:, :num_asked].float().cpu(), labels_RC, mask_RC)


def _to(held_out: HeldOut, device: torch.device) -> HeldOut:
    columns = {name: values.to(device) for name, values in held_out.columns.items()}
    return replace(held_out, columns=columns, truth_RT=held_out.truth_RT.to(device))


def _shortened(users: HeldOut, num_kept: int) -> HeldOut:
    return replace(users, columns=keep_latest(users.columns, users.domain_num, num_kept))


def _join(parts: list[Judged]) -> Judged:
    return Judged(
        torch.cat([part.ndcg_R for part in parts]), torch.cat([part.logits_RC for part in parts]),
        torch.cat([part.labels_RC for part in parts]), torch.cat([part.mask_RC for part in parts]),
    )  # fmt: skip
