"""A model's weights after each step in, their exponential moving average out.

    average_t = d_t * average_(t-1) + (1 - d_t) * weights_t,   d_t = min(decay, (1 + t) / (10 + t)),   t = 1, 2, ...

The first steps decay faster, so that the start is soon forgotten. The item table is averaged lazily: a row that no
gradient touches stays where it is, so the steps it slept through are one multiplication, made up for when it is touched
or read. A step costs the rows of its batch, as lazy Adam's does; the copy takes as much memory as the weights.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from crossrec_core.tensors.network.encoder import SequenceModel

TABLE = "items.ids"


@dataclass
class WeightAverage:
    """The average so far. ``log_decay`` is the sum of log d over the steps; a row is up to date at its own value."""

    weights: dict[str, Tensor]
    row_log_decay_I: Tensor  # float64: log_decay when the table's row was last brought up to date
    decay: float
    num_steps: int = 0
    log_decay: float = 0.0


def start_average(model: SequenceModel, *, decay: float) -> WeightAverage:
    """An average that holds the present weights."""
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    return WeightAverage(weights, torch.zeros(len(weights[TABLE]), dtype=torch.float64, device=_device(model)), decay)


@contextmanager
def one_step(average: WeightAverage | None, model: SequenceModel) -> Iterator[None]:
    """Around one optimiser step, gradients at hand: add the weights it makes. None does nothing."""
    if average is None:
        yield
        return
    rows_R = _moved_rows(model)
    _catch_up(average, model, rows_R)
    yield
    average.num_steps += 1
    decay = min(average.decay, (1 + average.num_steps) / (10 + average.num_steps))
    average.log_decay += math.log(decay)
    for name, value in model.named_parameters():
        if name == TABLE:
            average.weights[name][rows_R] = average.weights[name][rows_R].lerp(value.detach()[rows_R], 1 - decay)
        else:
            average.weights[name].lerp_(value.detach(), 1 - decay)
    average.row_log_decay_I[rows_R] = average.log_decay


@contextmanager
def averaged(model: SequenceModel, average: WeightAverage | None) -> Iterator[None]:
    """Inside the block the model has its average's weights; after it its own again. None changes nothing."""
    if average is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    take_average(model, average)
    try:
        yield
    finally:
        _put(model, own)


def take_average(model: SequenceModel, average: WeightAverage) -> None:
    """Overwrite the model's weights by their average."""
    _catch_up(average, model, torch.arange(len(average.row_log_decay_I), device=_device(model)))
    _put(model, average.weights)


def _moved_rows(model: SequenceModel) -> Tensor:
    """The rows of the item table that the present gradient moves: int64 [R]; all of them if it is dense."""
    grad = model.items.ids.grad
    if grad is None:
        return torch.empty(0, dtype=torch.int64, device=_device(model))
    return grad.coalesce().indices()[0] if grad.is_sparse else torch.arange(len(grad), device=grad.device)


def _catch_up(average: WeightAverage, model: SequenceModel, rows_R: Tensor) -> None:
    """Bring table rows up to date: they have stood still since they were last."""
    slept_R1 = (average.log_decay - average.row_log_decay_I[rows_R]).exp().float().unsqueeze(1)
    present_RD, table_ID = model.items.ids.detach()[rows_R], average.weights[TABLE]
    table_ID[rows_R] = present_RD + slept_R1 * (table_ID[rows_R] - present_RD)
    average.row_log_decay_I[rows_R] = average.log_decay


def _put(model: SequenceModel, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(weights[name])


def _device(model: SequenceModel) -> torch.device:
    return model.items.ids.device
