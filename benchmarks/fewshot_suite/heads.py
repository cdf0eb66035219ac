"""Training tasks in, the product's heads out, each as good as validation tasks say.

T tasks, K support pairs, Q query pairs, F features, P head features.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fewshot_suite.features import DOMAIN, NUM_SAID, SCORE, Described, to_tasks, with_one
from benchmarks.fewshot_suite.measures import tuning_value
from benchmarks.fewshot_suite.splits import draw_sizes, draw_tasks, keep_support
from crossrec_core.tensors.meta_learning.bayes_head import Prior, Support, moderated_logits, predict
from crossrec_core.tensors.meta_learning.meta import train_heads
from crossrec_core.tensors.meta_learning.meta_heads import (
    HEADS,
    NEWTON_STEPS,
    POOLED,
    GradientHead,
    HeadConfig,
    build_head,
)
from crossrec_core.tensors.meta_learning.task_features import Tasks

BAYES_LINEAR = "bayes_linear"
START_PRECISION, SAID_PRECISION = 5.0, 20.0


class LinearBayesHead(nn.Module):
    """The product's closed form over the features as they are: no network, a learnt mean and precision for each.

    What the support says of a pair starts as sure: it is to be weighed, not to be learnt anew by each task.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        mean_P, precision_P = torch.zeros(num_features + 1), torch.full((num_features + 1,), START_PRECISION)
        mean_P[SCORE] = 1.0
        precision_P[num_features - NUM_SAID : num_features] = SAID_PRECISION
        self.mean_P = nn.Parameter(mean_P)
        self.raw_precision_P = nn.Parameter(precision_P)  # softplus of it is the precision

    def forward(self, tasks: Tasks) -> Tensor:
        num_tasks = len(tasks.domains_T)
        mean_TP, raw_TP = (each.expand(num_tasks, -1) for each in (self.mean_P, self.raw_precision_P))
        support = Support(with_one(tasks.support_TKF), tasks.support_labels_TK, tasks.support_mask_TK)
        prior = Prior(mean_TP, F.softplus(raw_TP))
        return moderated_logits(predict(prior, support, with_one(tasks.query_TQF), num_steps=NEWTON_STEPS))


@dataclass(frozen=True)
class HeadPlan:
    """how heads are trained; the best of ``learning_rates`` is taken by validation, for each head by itself."""

    num_epochs: int = 8
    steps_per_epoch: int = 20
    batch_tasks: int = 64
    learning_rates: tuple[float, ...] = (0.02,)
    width: int = 16
    hidden: int = 32
    inner_steps: int = 3
    inner_lr: float = 0.3
    tuned_steps: tuple[int, ...] = (1, 3, 10)  # of the fine-tuned head
    tuned_lrs: tuple[float, ...] = (0.1, 0.3)


@dataclass(frozen=True)
class Asked:
    """A task and what its user truly gave to the query."""

    tasks: Tasks
    ratings_TQ: Tensor


@dataclass(frozen=True)
class Trained:
    """A head with its validation value and how it was trained."""

    head: Callable[[Tasks], Tensor]
    value: float
    how: dict[str, float]


def fit_heads(
    described: Described, mask_UK: Tensor, train: Tensor, valid: list[Asked], plan: HeadPlan, *, seed: int
) -> dict[str, Trained]:  # fmt: skip
    """Every head of the product, and the linear one; the pooled head is ``in_context``, with steps ``fine_tuned``."""
    found: dict[str, Trained] = {}
    for lr in plan.learning_rates:
        heads = new_heads(valid[0].tasks.query_TQF.shape[2], plan, seed=seed)
        fitted = train_heads(
            heads, lambda epoch: batches(described, mask_UK, train, plan, seed=seed * 1_000_003 + epoch),
            num_epochs=dict.fromkeys(heads, plan.num_epochs), learning_rate=lr, domain_temperature=0.0,
            generator=torch.Generator().manual_seed(seed), validate=lambda shown: judge_all(shown, valid),
        )  # fmt: skip
        for name, fit in fitted.items():
            assert fit.best_value is not None
            if name not in found or fit.best_value > found[name].value:
                how = {"learning_rate": lr, "best_epoch": fit.best_epoch}
                found[name] = Trained(heads[name], fit.best_value, how)
    found["in_context"] = found.pop(POOLED)
    found["fine_tuned"] = fine_tune(found["in_context"].head, valid, plan)
    return found


def new_heads(num_features: int, plan: HeadPlan, *, seed: int) -> dict[str, nn.Module]:
    """Untrained heads."""
    heads = {
        method: build_head(
            HeadConfig(
                method=method, num_features=num_features, num_domains=1, width=plan.width, hidden=plan.hidden,
                inner_steps=plan.inner_steps, inner_lr=plan.inner_lr,
            ), seed=seed,
        )
        for method in HEADS
    }  # fmt: skip
    return {**heads, BAYES_LINEAR: LinearBayesHead(num_features)}


def batches(
    described: Described, mask_UK: Tensor, train: Tensor, plan: HeadPlan, *, seed: int
) -> Iterator[Mapping[int, Tasks]]:
    """Training users at random, each with a query and a support size of its own."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(plan.steps_per_epoch):
        users_T = train[torch.randperm(len(train), generator=generator)[: plan.batch_tasks]]
        drawn = draw_tasks(mask_UK, users_T, generator=generator)
        yield {DOMAIN: to_tasks(described, keep_support(drawn, draw_sizes(len(users_T), generator=generator)))}


def fine_tune(pooled: Callable[[Tasks], Tensor], valid: list[Asked], plan: HeadPlan) -> Trained:
    """The pooled head after gradient steps on each task's support, as many and as long as validation says."""
    assert isinstance(pooled, GradientHead)
    tried = []
    for num_steps in plan.tuned_steps:
        for lr in plan.tuned_lrs:
            answer = _stepping(pooled, num_steps, lr)
            tried.append(Trained(answer, judge(answer, valid), {"inner_steps": num_steps, "inner_lr": lr}))
    return max(tried, key=lambda each: each.value)


def judge(answer: Callable[[Tasks], Tensor], valid: list[Asked]) -> float:
    """Mean tuning value over the draws of validation tasks."""
    with torch.no_grad():
        return sum(tuning_value(answer(each.tasks), each.ratings_TQ) for each in valid) / len(valid)


def judge_all(heads: Mapping[str, nn.Module], valid: list[Asked]) -> dict[str, float]:
    """``judge`` for each head."""
    return {name: judge(head, valid) for name, head in heads.items()}


def _stepping(pooled: GradientHead, num_steps: int, inner_lr: float) -> Callable[[Tasks], Tensor]:
    """The pooled head, stepping at a rate of its own."""
    head = copy.deepcopy(pooled)
    head.config = replace(pooled.config, inner_lr=inner_lr)
    return lambda tasks: head.after(tasks, num_steps=num_steps)
