"""Features and labels in, weights of a logistic regression out; a ranking loss beside it keeps its optimum.

P pairs, F features, G groups (users).
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def fit_logistic(
    x_PF: Tensor, labels_P: Tensor, penalty_F: Tensor, *, groups_P: Tensor | None = None, ranking: float = 0.0,
    num_steps: int = 100,
) -> Tensor:  # fmt: skip
    """Minimise the summed log loss + penalty/2 w^2 by L-BFGS in float64; with ``ranking`` also that share of ListCE.

    ListCE makes a user's positives lead the user's other pairs. It is written on sigmoid(s), not on exp(s), so that the
    true probabilities are an optimum of both losses (regression compatible: Bai et al. 2023). It is not convex: the
    descent starts from the minimum of the log loss alone. Deterministic.

    Args:
        x_PF: float64.
        labels_P: float64, 1 or 0.
        groups_P: the user of each pair; needed with ``ranking``.
    """
    weights_F = torch.zeros(x_PF.shape[1], dtype=torch.float64)
    stages = [0.0, ranking] if ranking > 0 else [0.0]
    for share in stages:
        weights_F = _descend(weights_F, x_PF, labels_P, penalty_F, groups_P, share, num_steps)
    return weights_F


def list_cross_entropy(logits_P: Tensor, labels_P: Tensor, groups_P: Tensor) -> Tensor:
    """-sum over positives of log(sigmoid(s) / sum of sigmoid(s) over the group): a scalar.

    It is not divided by a group's positives: then sigmoid(s) = P(y=1) minimises its expectation.
    """
    log_sigmoid_P = F.logsigmoid(logits_P)
    groups, place_P = torch.unique(groups_P, return_inverse=True)
    total_G = torch.zeros(len(groups), dtype=logits_P.dtype).index_add(0, place_P, log_sigmoid_P.exp())
    return -(labels_P * (log_sigmoid_P - total_G.log()[place_P])).sum()


def _descend(
    start_F: Tensor, x_PF: Tensor, labels_P: Tensor, penalty_F: Tensor, groups_P: Tensor | None, ranking: float,
    num_steps: int,
) -> Tensor:  # fmt: skip
    weights_F = start_F.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [weights_F], max_iter=num_steps, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_P = x_PF @ weights_F
        value = F.binary_cross_entropy_with_logits(logits_P, labels_P, reduction="sum")
        if ranking > 0 and groups_P is not None:
            value = value + ranking * list_cross_entropy(logits_P, labels_P, groups_P)
        value = (value + (penalty_F * weights_F**2).sum() / 2) / len(labels_P)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights_F.detach()
