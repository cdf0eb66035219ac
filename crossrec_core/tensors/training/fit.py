"""Batches and a step in, a trained model and its reports out: the one loop. It reads and writes nothing.

``step`` turns a batch into a loss; pretraining and fine-tuning differ in their batches and steps only. In a process
group every rank runs the loop on batches of its own, and all end with the same weights (``ranks.py``).
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.devices import autocast
from crossrec_core.tensors.inputs.batches import Batch, move_batch
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.training.averaging import WeightAverage, averaged, one_step, start_average, take_average
from crossrec_core.tensors.training.fit_state import FitState, capture, put_back
from crossrec_core.tensors.training.optimiser import (
    clip_gradients,
    learning_rate_at,
    make_optimisers,
    set_learning_rate,
)
from crossrec_core.tensors.training.ranks import average_gradients, in_step, mix_seed, sum_over_ranks


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast. A refit runs ``num_epochs`` of a schedule that is laid out for ``max_epochs``.

    With ``ema_decay`` above 0 the model that is judged and kept is the moving average of the weights.
    """

    max_epochs: int
    num_epochs: int
    steps_per_epoch: int
    patience: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    clip_norm: float
    schedule: str = "cosine"
    ema_decay: float = 0.0


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did. Epoch 0 is the validation before any step."""

    epoch: int
    step: int  # optimiser steps so far
    metrics: dict[str, float]  # loss, lr, gradient_norm, sequences_per_second, valid_ndcg


@dataclass(frozen=True)
class Fitted:
    """The epoch whose weights the model now has, and its validation NDCG (None without validation)."""

    best_epoch: int
    best_ndcg: float | None


def fit(
    model: SequenceModel,
    batches: Callable[[int], Iterable[Batch]],
    step: Callable[[Batch], Tensor | None],
    *,
    plan: FitPlan,
    seed: int,
    device: torch.device,
    bf16: bool = False,
    rates: Mapping[str, float] | None = None,
    validate: Callable[[], float] | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_step: Callable[[], None] = lambda: None,
    start: FitState | None = None,
    on_state: Callable[[FitState], None] | None = None,
) -> Fitted:
    """Train ``model`` in place, epochs 1 to ``plan.num_epochs``, on ``batches(epoch)``.

    With ``validate`` (higher is better) it is also judged before the first step, training stops after
    ``plan.patience`` epochs without a better value, and the model ends with its best weights: a start that training
    only worsens is kept. Without it the last weights stay. The same seed gives the same weights on a CPU. ``rates`` are
    multiples of the learning rate by parameter name. In a process group ``validate`` must say the same on every rank.
    ``on_state`` is given what there is after an epoch that another one follows. A fit that has it as its ``start`` ends
    as the one that it came from would have: every epoch has random numbers of its own.

    Raises CrossRecError when the loss is no longer a number.
    """
    cuda = [device.index or 0] if device.type == "cuda" else []
    best = _Best()
    with torch.random.fork_rng(devices=cuda):
        optimisers = make_optimisers(
            model, learning_rate=plan.learning_rate, weight_decay=plan.weight_decay, rates=rates
        )
        average = start_average(model, decay=plan.ema_decay) if plan.ema_decay > 0 else None
        if start is not None:
            best.epoch, best.value = start.best_epoch, start.best_value
            best.weights, average = put_back(start, model, optimisers)
        elif validate is not None and plan.num_epochs > 0:
            on_epoch(EpochReport(0, 0, {"valid_ndcg": _judge(best, 0, model, validate, average)}))
        last_epoch, num_steps = (start.epoch, start.num_steps) if start else (0, 0)
        for epoch in range(last_epoch + 1, plan.num_epochs + 1):
            torch.manual_seed(mix_seed(seed, epoch))
            num_steps, metrics = _run_epoch(
                model, batches(epoch), step, optimisers, plan, num_steps, device, bf16, on_step, average
            )
            if validate is not None:
                metrics["valid_ndcg"] = _judge(best, epoch, model, validate, average)
            on_epoch(EpochReport(epoch, num_steps, metrics))
            if epoch == plan.num_epochs or (validate is not None and epoch - best.epoch >= plan.patience):
                break
            if on_state is not None:
                on_state(capture(
                    model, optimisers, average, epoch=epoch, num_steps=num_steps, best_epoch=best.epoch,
                    best_value=best.value, best_weights=best.weights,
                ))  # fmt: skip
    model.eval()
    if best.weights is None:
        if average is not None:
            take_average(model, average)
        return Fitted(plan.num_epochs, None)
    model.load_state_dict(best.weights)
    return Fitted(best.epoch, best.value)


@dataclass
class _Best:
    """The best weights so far, held in memory."""

    epoch: int = 0
    value: float = -math.inf
    weights: dict[str, Tensor] | None = None

    def judge(self, epoch: int, value: float, model: SequenceModel) -> float:
        if value > self.value:
            self.epoch, self.value, self.weights = epoch, value, copy.deepcopy(model.state_dict())
        return value


def _run_epoch(
    model: SequenceModel,
    batches: Iterable[Batch],
    step: Callable[[Batch], Tensor | None],
    optimisers: list[torch.optim.Optimizer],
    plan: FitPlan,
    num_steps: int,
    device: torch.device,
    bf16: bool,
    on_step: Callable[[], None],
    average: WeightAverage | None,
) -> tuple[int, dict[str, float]]:
    """One pass; returns the optimiser steps so far and the epoch's measures. Losses stay on the device till then."""
    model.train()
    total_steps = max(plan.max_epochs * plan.steps_per_epoch, 1)
    warmup_steps = max(round(plan.warmup_share * total_steps), 1)
    started, num_sequences, losses, norms, lr = time.perf_counter(), 0, [], [], 0.0
    for batch in in_step(batches, device):
        lr = learning_rate_at(
            num_steps, schedule=plan.schedule, peak=plan.learning_rate, warmup_steps=warmup_steps,
            total_steps=total_steps,
        )  # fmt: skip
        with autocast(device, bf16=bf16):
            loss = None if batch is None else step(move_batch(batch, device))
        on_step()
        num_losses = round(sum_over_ranks([loss is not None], device)[0])
        if not num_losses:
            continue
        norms.append(_update(model, loss, optimisers, lr, plan.clip_norm, average, num_losses))
        num_steps += 1
        if loss is not None and batch is not None:
            losses.append(loss.detach())
            num_sequences += len(batch.items_BL)
    own = [float(torch.stack(losses).double().sum()) if losses else 0.0, len(losses), num_sequences]
    summed_loss, num_summed, all_sequences = sum_over_ranks(own, device)
    mean_loss = summed_loss / max(num_summed, 1)
    if not math.isfinite(mean_loss):
        raise CrossRecError(f"training: the loss is {mean_loss} after {num_steps} steps; lower the learning_rate")
    seconds = time.perf_counter() - started
    mean_norm = float(torch.stack(norms).mean()) if norms else 0.0
    speed = all_sequences / max(seconds, 1e-9)
    return num_steps, {"loss": mean_loss, "lr": lr, "gradient_norm": mean_norm, "sequences_per_second": speed}


def _update(
    model: SequenceModel, loss: Tensor | None, optimisers: list[torch.optim.Optimizer], lr: float, clip_norm: float,
    average: WeightAverage | None, num_losses: int,
) -> Tensor:  # fmt: skip
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    set_learning_rate(optimisers, lr)
    if loss is not None:
        loss.backward()  # type: ignore[no-untyped-call]
    parameters = list(model.parameters())
    average_gradients(parameters, num_losses=num_losses, device=parameters[0].device)
    norm = clip_gradients(parameters, clip_norm)
    with one_step(average, model):
        for optimiser in optimisers:
            optimiser.step()
    return norm


def _judge(
    best: _Best, epoch: int, model: SequenceModel, validate: Callable[[], float], average: WeightAverage | None
) -> float:
    """The validation value of the weights that would be kept; the best so far are copied."""
    model.eval()
    with averaged(model, average), torch.no_grad():
        return best.judge(epoch, validate(), model)
