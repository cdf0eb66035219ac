"""A model in, its optimisers out: AdamW for the dense part, lazy Adam for the item table.

A batch touches a few thousand of perhaps millions of items. AdamW would rewrite the whole table and both its moments
at every step; lazy Adam updates the rows that have a gradient. Weight decay leaves the table out.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.training.lazy_adam import LazyAdam

BETAS = (0.9, 0.98)
# What is left of the fall, 1 to 0, when a share of the steps after the warm-up is done
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


def make_optimisers(
    model: SequenceModel, *, learning_rate: float, weight_decay: float, rates: Mapping[str, float] | None = None
) -> list[Optimizer]:
    """AdamW over everything but the item ids, and lazy Adam over the item ids.

    Only the matrices of linear maps decay; norm gains, biases and embeddings do not. Parameters that need no gradient
    are left out. ``rates`` are multiples of the learning rate by parameter name (None: 1 for all); every group has its
    own as ``rate``, for ``set_learning_rate``.
    """
    table = model.items.ids
    decaying = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    table_rate = 1.0
    for name, parameter in model.named_parameters():
        rate = 1.0 if rates is None else rates[name]
        if parameter is table:
            table_rate = rate
        elif parameter.requires_grad:
            groups.setdefault((id(parameter) in decaying, rate), []).append(parameter)
    optimisers: list[Optimizer] = []
    if groups:
        dense = [
            {"params": parameters, "weight_decay": weight_decay * decays, "rate": rate}
            for (decays, rate), parameters in groups.items()
        ]
        optimisers.append(AdamW(dense, lr=learning_rate, betas=BETAS, fused=True))
    if table.requires_grad:
        optimisers.append(LazyAdam([{"params": [table], "rate": table_rate}], lr=learning_rate, betas=BETAS))
    return optimisers


def set_learning_rate(optimisers: Sequence[Optimizer], learning_rate: float) -> None:
    """Give every group of parameters its multiple of the learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * group["rate"]


def clip_gradients(parameters: Sequence[Tensor], clip_norm: float) -> Tensor:
    """Scale all gradients, sparse ones included, to a common norm of at most ``clip_norm``; returns the norm before."""
    values = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad._values() if parameter.grad.is_sparse else parameter.grad)
    norm = torch.nn.utils.get_total_norm(values)
    scale = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(values, scale)
    return norm


def learning_rate_at(step: int, *, schedule: str, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Linear warm-up to ``peak``, then by ``schedule``: cosine or linear to a tenth of it, or constant.

    ``step`` counts from 0. The tail is not zero, so that the last epochs still teach when the best number of epochs is
    near the end.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return peak * (0.1 + 0.9 * SCHEDULES[schedule](done))
