"""Parameters and a task's support in, adapted parameters out: inner loops as pure functions.

T tasks, K support pairs, Q query pairs, F features. A task is a row of a batch: the loop over tasks is a vmap, never
Python's. Padded support pairs have the mask 0 and weigh nothing; a task without any support keeps its parameters.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

Params = Mapping[str, Tensor]
Predict = Callable[[Params, Tensor], Tensor]  # parameters, features [N, F] -> logits [N]


def adapt(
    params: Params,
    support_loss: Callable[[Params], Tensor],
    *,
    num_steps: int,
    inner_lr: float,
    first_order: bool,
) -> Params:
    """Take ``num_steps`` gradient steps on the support loss (Finn et al. 2017, algorithm 1).

    ``params`` is left untouched; without steps it is what comes back. With ``first_order`` the outer gradient ignores
    second derivatives.
    """
    adapted = dict(params)
    for _ in range(num_steps):
        gradients = grad(support_loss)(adapted)
        if first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        adapted = {name: value - inner_lr * gradients[name] for name, value in adapted.items()}
    return adapted


def masked_log_loss(logits_K: Tensor, labels_K: Tensor, mask_K: Tensor) -> Tensor:
    """Mean log loss of the pairs whose mask is 1; 0 when there are none."""
    losses_K = F.binary_cross_entropy_with_logits(logits_K, labels_K, reduction="none")
    return (losses_K * mask_K).sum() / mask_K.sum().clamp(min=1)


def adapted_logits(
    predict: Predict, params: Params, support: tuple[Tensor, Tensor, Tensor], query_TQF: Tensor, *,
    num_steps: int, inner_lr: float, first_order: bool, adapted: Collection[str],
) -> Tensor:  # fmt: skip
    """Logits [T, Q] of every task's query after its own inner loop over the parameters named in ``adapted``.

    ``support`` is features [T, K, F], labels [T, K] and mask [T, K].
    """

    def one_task(support_KF: Tensor, labels_K: Tensor, mask_K: Tensor, query_QF: Tensor) -> Tensor:
        loss = _support_loss(predict, params, support_KF, labels_K, mask_K)
        moving = {name: params[name] for name in adapted}
        moved = adapt(moving, loss, num_steps=num_steps, inner_lr=inner_lr, first_order=first_order)
        return predict({**params, **moved}, query_QF)

    logits_TQ: Tensor = vmap(one_task)(*support, query_TQF)
    return logits_TQ


def maml(
    predict: Predict, params: Params, support: tuple[Tensor, Tensor, Tensor], query_TQF: Tensor, *,
    num_steps: int, inner_lr: float,
) -> Tensor:  # fmt: skip
    """All parameters adapt, and the outer gradient is exact (Finn et al. 2017)."""
    return adapted_logits(
        predict, params, support, query_TQF,
        num_steps=num_steps, inner_lr=inner_lr, first_order=False, adapted=tuple(params),
    )  # fmt: skip


def first_order_maml(
    predict: Predict, params: Params, support: tuple[Tensor, Tensor, Tensor], query_TQF: Tensor, *,
    num_steps: int, inner_lr: float,
) -> Tensor:  # fmt: skip
    """All parameters adapt; second derivatives are left out (Finn et al. 2017, section 5.2)."""
    return adapted_logits(
        predict, params, support, query_TQF,
        num_steps=num_steps, inner_lr=inner_lr, first_order=True, adapted=tuple(params),
    )  # fmt: skip


def anil(
    predict: Predict, params: Params, support: tuple[Tensor, Tensor, Tensor], query_TQF: Tensor, *,
    num_steps: int, inner_lr: float, head: Collection[str],
) -> Tensor:  # fmt: skip
    """Only the parameters named in ``head`` adapt (Raghu et al. 2020)."""
    return adapted_logits(
        predict, params, support, query_TQF, num_steps=num_steps, inner_lr=inner_lr, first_order=False, adapted=head
    )


def reptile_loss(
    predict: Predict, params: Params, task: tuple[Tensor, Tensor, Tensor], *, num_steps: int, inner_lr: float
) -> Tensor:
    """Half the squared distance to the tasks' mean adapted parameters: its gradient is Reptile's step.

    Reptile moves the start towards where the tasks end (Nichol et al. 2018, algorithm 2: theta - mean theta_k is used
    as the gradient of any optimiser). ``task`` is features [T, K, F], labels and mask [T, K] of all pairs of a task.
    """

    def one_task(x_KF: Tensor, labels_K: Tensor, mask_K: Tensor) -> Params:
        start = {name: value.detach() for name, value in params.items()}
        loss = _support_loss(predict, start, x_KF, labels_K, mask_K)
        return adapt(start, loss, num_steps=num_steps, inner_lr=inner_lr, first_order=True)

    ends = vmap(one_task)(*task)
    distances = [((value - ends[name].mean(dim=0).detach()) ** 2).sum() for name, value in params.items()]
    return torch.stack(distances).sum() / 2


def _support_loss(
    predict: Predict, params: Params, x_KF: Tensor, labels_K: Tensor, mask_K: Tensor
) -> Callable[[Params], Tensor]:
    return lambda moved: masked_log_loss(predict({**params, **moved}, x_KF), labels_K, mask_K)
