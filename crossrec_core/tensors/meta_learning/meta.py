"""Stage "meta_train": sequences and a frozen model in, heads out that a few events adapt.

R rows, T tasks, K support pairs, Q query pairs. Users and domains are the tasks; the encoder's work is done once per
batch and shared by all heads that are trained side by side.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.meta_learning.meta_heads import GradientHead, fit_scale, start_calibrated
from crossrec_core.tensors.meta_learning.shortlist import draw_listed, draw_up
from crossrec_core.tensors.meta_learning.task_features import Tasks, to_tasks
from crossrec_core.tensors.meta_learning.tasks import (
    crop,
    draw_cuts,
    draw_task_negatives,
    forget_earlier,
    keep_rows_of,
    query_pairs,
    support_pairs,
)
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.fit import EpochReport
from crossrec_core.tensors.training.losses import mix_domains

UNKNOWN_DOMAIN_SHARE = 0.3  # of the batches whose domain is hidden: what a domain nobody has seen will meet
CLIP_NORM = 1.0


@dataclass(frozen=True)
class TaskPlan:
    """How tasks are cut."""

    support_sizes: Sequence[int]
    num_query: int
    num_negatives: int  # per positive; of the support half uniform in the domain and half by popularity
    num_ranked: int  # candidates that a head is shown at scoring: the query's negatives are drawn from them


@dataclass(frozen=True)
class FittedHead:
    """The epoch whose weights a head now has, its validation value (None without validation), and its epochs."""

    best_epoch: int
    best_value: float | None
    epochs: tuple[EpochReport, ...]


def make_tasks(
    model: SequenceModel, columns: Mapping[str, Tensor], domain_num: int, candidates: Candidates, *,
    plan: TaskPlan, generator: Generator,
) -> Tasks | None:  # fmt: skip
    """Cut each row with events of the domain into a task, at random; None where there is none.

    The query is asked as at scoring: the negatives are drawn from the model's shortlist, and what is not good enough
    for that list is not asked at all, for no head can bring it there. With other negatives a head learns to tell what
    is bought from what is not, which the list has done already, and loses the order within it.

    ``generator`` lives where the columns, the candidates and the model live.
    """
    whole = crop(keep_rows_of(columns, domain_num))
    num_rows = len(whole["item_nums"])
    if num_rows == 0:
        return None
    nums_V, popularity_V = candidates.items[domain_num], candidates.popularity[domain_num]
    cut = draw_cuts(whole, domain_num, support_sizes=plan.support_sizes, num_query=plan.num_query, generator=generator)
    rows, shorter = forget_earlier(whole, domain_num, cut)
    negatives_RSN = draw_task_negatives(
        nums_V, popularity_V, num_rows=num_rows, num_events=cut.support_RK.shape[1], num_negatives=plan.num_negatives,
        generator=generator,
    )  # fmt: skip
    is_known_RL = torch.arange(whole["item_nums"].shape[1], device=cut.known_R.device) < cut.known_R.unsqueeze(1)
    listed = draw_up(
        model, rows, shorter.known_R, domain_num, candidates, left_out_RL=whole["item_nums"] * is_known_RL,
        asked_RQ=whole["item_nums"].gather(1, cut.query_RQ), num_ranked=plan.num_ranked,
    )  # fmt: skip
    asked_RQ = cut.has_query_RQ & listed.is_listed_RQ
    listed_RQN = draw_listed(listed, num_events=plan.num_query, num_negatives=plan.num_negatives, generator=generator)
    query = query_pairs(whole, replace(cut, has_query_RQ=asked_RQ), listed_RQN, nums_V)
    query = replace(query, known_RC=shorter.known_R.unsqueeze(1).expand_as(query.known_RC))
    return to_tasks(model, rows, support_pairs(rows, shorter, negatives_RSN, nums_V), query, domain_num, candidates)


def outer_loss(logits_TQ: Tensor, tasks: Tasks) -> Tensor:
    """Mean over tasks of log loss and list cross-entropy on the query; tasks without a query event do not count.

    The list term compares sigmoid(s) / sum sigmoid(s) with the labels, so that both terms have the same optimum (Bai
    et al. 2023, "Regression Compatible Listwise Objectives").
    """
    mask_TQ, positive_TQ = tasks.query_mask_TQ, tasks.query_labels_TQ * tasks.query_mask_TQ
    num_positive_T = positive_TQ.sum(dim=1)
    losses_TQ = F.binary_cross_entropy_with_logits(logits_TQ, tasks.query_labels_TQ, reduction="none")
    pointwise_T = (losses_TQ * mask_TQ).sum(dim=1) / mask_TQ.sum(dim=1).clamp(min=1)
    log_TQ = F.logsigmoid(logits_TQ)
    total_T = log_TQ.masked_fill(mask_TQ == 0, -1e9).logsumexp(dim=1)
    listwise_T = total_T - (log_TQ * positive_TQ).sum(dim=1) / num_positive_T.clamp(min=1)
    counts_T = (num_positive_T > 0).float()
    return ((pointwise_T + listwise_T) * counts_T).sum() / counts_T.sum().clamp(min=1)


def train_heads(
    heads: Mapping[str, nn.Module],
    batches: Callable[[int], Iterable[Mapping[int, Tasks]]],
    *,
    num_epochs: Mapping[str, int],
    learning_rate: float,
    domain_temperature: float,
    generator: Generator,
    validate: Callable[[Mapping[str, nn.Module]], Mapping[str, float]] | None,
) -> dict[str, FittedHead]:
    """Train the heads in place, side by side, on ``batches(epoch)``: tasks by domain number.

    With ``validate`` (a value per head, higher is better) a head ends with its best weights, those before the first
    step included: one that training only worsens stays the in-context model. Without it a head stops after its own
    ``num_epochs``.

    Raises:
        CrossRecError: a loss is no longer a number.
    """
    optimisers = {name: torch.optim.AdamW(head.parameters(), lr=learning_rate) for name, head in heads.items()}
    logs: dict[str, list[EpochReport]] = {name: [] for name in heads}
    best = {name: _Best() for name in heads}
    first = next(iter(batches(1)), None)
    if first is not None:
        _start(heads, first)
    num_steps = 0
    for epoch in range(max(num_epochs.values(), default=0) + 1):
        training = {name: head for name, head in heads.items() if epoch <= num_epochs[name]}
        started = time.perf_counter()
        losses: dict[str, list[Tensor]] = {name: [] for name in training}
        for tasks in batches(epoch) if epoch else ():
            shown = _hide_domains(tasks, generator)
            for name, head in training.items():
                losses[name].append(_step(head, shown, optimisers[name], domain_temperature))
            num_steps += 1
        values = {} if validate is None else validate(training)
        for name, head in training.items():
            metrics = _mean_loss(name, losses[name], time.perf_counter() - started)
            if name in values:
                metrics["valid_ndcg"] = best[name].judge(epoch, values[name], head)
            if metrics:
                logs[name].append(EpochReport(epoch, num_steps, metrics))
    return {name: _finish(head, best[name], num_epochs[name], logs[name]) for name, head in heads.items()}


@dataclass
class _Best:
    """The best weights so far, held in memory."""

    epoch: int = 0
    value: float = -math.inf
    weights: dict[str, Tensor] | None = None

    def judge(self, epoch: int, value: float, head: nn.Module) -> float:
        if value > self.value:
            self.epoch, self.value, self.weights = epoch, value, copy.deepcopy(head.state_dict())
        return value


def _finish(head: nn.Module, best: _Best, num_epochs: int, epochs: list[EpochReport]) -> FittedHead:
    if best.weights is None:
        return FittedHead(num_epochs, None, tuple(epochs))
    head.load_state_dict(best.weights)
    return FittedHead(best.epoch, best.value, tuple(epochs))


def _step(
    head: nn.Module, tasks: Mapping[int, Tasks], optimiser: torch.optim.Optimizer, domain_temperature: float
) -> Tensor:
    """One update on the tasks of all domains."""
    losses = {domain: task_loss(head, of_domain) for domain, of_domain in tasks.items()}
    counts = {domain: len(of_domain.domains_T) for domain, of_domain in tasks.items()}
    loss = mix_domains(losses, counts, temperature=domain_temperature)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(head.parameters(), CLIP_NORM)
    optimiser.step()
    return loss.detach()


def task_loss(head: nn.Module, tasks: Tasks) -> Tensor:
    """What a head minimises: the loss on the query after adaptation, or Reptile's own."""
    if isinstance(head, GradientHead) and head.config.method == "reptile":
        return head.reptile_loss(tasks)
    return outer_loss(head(tasks), tasks)


def _hide_domains(tasks: Mapping[int, Tasks], generator: Generator) -> dict[int, Tasks]:
    """Call some batches' domain unknown."""
    is_hidden = torch.rand(len(tasks), generator=generator, device=generator.device) < UNKNOWN_DOMAIN_SHARE
    return {
        domain: replace(of_domain, domains_T=of_domain.domains_T * ~hidden)
        for (domain, of_domain), hidden in zip(tasks.items(), is_hidden, strict=True)
    }


def _start(heads: Mapping[str, nn.Module], tasks: Mapping[int, Tasks]) -> None:
    """Standardise and calibrate by the query pairs of the first batch."""
    x_NF = torch.cat([of_domain.query_TQF[of_domain.query_mask_TQ > 0] for of_domain in tasks.values()])
    labels_N = torch.cat([of_domain.query_labels_TQ[of_domain.query_mask_TQ > 0] for of_domain in tasks.values()])
    for head in heads.values():
        fit_scale(head, x_NF)
        start_calibrated(head, x_NF, labels_N)


def _mean_loss(name: str, losses: list[Tensor], seconds: float) -> dict[str, float]:
    if not losses:
        return {}
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise CrossRecError(f"meta_train: the loss of {name} is {loss}; lower meta.learning_rate or meta.inner_lr")
    return {"loss": loss, "seconds": seconds}
