"""What every source of evidence says about a user's candidates in, one score out; and how the weights are fitted.

    score(u, c) = sum_j w_j(u) phi_j(u, c),    w(u) = W . features(u), or the softplus of it

phi holds the log probability that each source gives to the candidate, which makes it a product of experts (Hinton
2002), and the reciprocal rank by each popularity (Cormack et al. 2009), which lets what everyone buys this week lead
whatever its share. Weights that depend on the user are the gate: how much history there is, whether it is of the
domain, how much the counted transitions know. The softplus keeps them positive: differences of popularities, which
free signs allow, know which items one window of time bought and not which the next will.

B or R users, M candidates of a pool, J features of a candidate, F = NUM_FEATURES of a user.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.inputs.user_batch import UserBatch

NUM_FEATURES = 6
MASKED = -1e9  # stands in for -inf, which would turn gradients into NaN
# Sharpness of the softplus: a weight that nothing is known of is log(2) / 4, a sixth of a standard deviation of phi
BETA = 4.0


@dataclass(frozen=True)
class Blend:
    """What the weights are made of, and the moments of what it was fitted on; all float64 but the bool."""

    gate_JF: Tensor  # W
    mean_J: Tensor
    scale_J: Tensor
    mean_F: Tensor
    scale_F: Tensor
    low_F: Tensor  # the range of the standardised features: beyond it nothing was learnt
    high_F: Tensor
    is_positive: Tensor  # bool []


def as_blend(tensors: Mapping[str, Tensor], path: Path) -> Blend:
    """The blend that was stored as these tensors at ``path``. Raises CheckpointError for those of another release."""
    names = {field.name for field in fields(Blend)}
    if tensors.keys() != names:
        raise CheckpointError(
            f"{path}: holds {', '.join(sorted(tensors))}; expected {', '.join(sorted(names))}; it is of another "
            "release: run jobs/blend.py again"
        )
    return Blend(**tensors)


def user_features(users: UserBatch, mass_B: Tensor, *, domain_num: int) -> Tensor:
    """What the weights may depend on, float64 [B, NUM_FEATURES].

    log(1 + events), log(1 + events in the domain), whether the latest event is of the domain, whether none is,
    log(1 + ``mass_B``) (how much evidence the counted transitions have), and 1.
    """
    is_own_BL = users.domains_BL == domain_num
    num_events_B = (users.items_BL != 0).sum(dim=1)
    num_own_B = is_own_BL.sum(dim=1)
    last_B = (num_events_B - 1).clamp(min=0)
    features = (
        num_events_B.double().log1p(),
        num_own_B.double().log1p(),
        is_own_BL[torch.arange(len(last_B)), last_B].double(),
        (num_own_B == 0).double(),
        mass_B.double().log1p(),
        torch.ones(len(last_B), dtype=torch.float64),
    )
    return torch.stack(features, dim=1)


def user_weights(blend: Blend, features_BF: Tensor) -> Tensor:
    """The weight of each phi for each user, float32 [B, J], scaled so that it multiplies phi as it comes.

    A user beyond the range of those that taught is taken for one at its end. What is left out, the mean of phi, moves
    all of a user's candidates alike.
    """
    x_BF = ((features_BF - blend.mean_F) / blend.scale_F).clamp(blend.low_F, blend.high_F)
    weights_BJ = x_BF @ blend.gate_JF.T
    return ((softplus(weights_BJ, BETA) if blend.is_positive else weights_BJ) / blend.scale_J).float()


def fit_blend(
    phi_RMJ: Tensor, is_valid_RM: Tensor, is_truth_RM: Tensor, features_RF: Tensor, *, l2: float, is_positive: bool
) -> Blend:
    """Fit W by the listwise cross-entropy of the truth within each user's pool (ListNet, Cao et al. 2007).

    Only users with a truth item in their pool teach; each counts alike. ``l2`` is the penalty l2/2 |W|^2 beside the
    summed loss, a tenth of it for intercepts: with few users the weights are small and the same for all. With free
    signs that matters more: popularities tell items apart, and large weights of opposite signs would learn which items
    this window bought. Deterministic.

    Args:
        phi_RMJ: float32, 0 where ``is_valid_RM`` is false (padding of a pool).
        is_truth_RM: which candidates of the pool are held-out items.
        features_RF: float64, the last one constant 1.
    """
    taught_R = is_truth_RM.any(dim=1)
    mean_J, scale_J = moments(phi_RMJ[is_valid_RM].double())
    mean_F, scale_F = moments(features_RF)
    mean_F[-1] = 0
    phi_RMJ = (phi_RMJ[taught_R] - mean_J) / scale_J
    all_x_RF = (features_RF - mean_F) / scale_F
    x_RF = all_x_RF[taught_R]
    absent_RM = ~is_valid_RM[taught_R]
    share_RM = is_truth_RM[taught_R] / is_truth_RM[taught_R].sum(dim=1, keepdim=True)
    gate_JF = minimise(phi_RMJ, x_RF, absent_RM, share_RM, penalty(l2, len(mean_F)), is_positive=is_positive)
    low_F, high_F = all_x_RF.amin(dim=0), all_x_RF.amax(dim=0)
    return Blend(gate_JF, mean_J, scale_J, mean_F, scale_F, low_F, high_F, torch.tensor(is_positive))


def minimise(
    phi_RMJ: Tensor, x_RF: Tensor, absent_RM: Tensor, share_RM: Tensor, penalty_F: Tensor, *,
    base_RM: Tensor | None = None, is_positive: bool,
) -> Tensor:  # fmt: skip
    """The W, float64 [J, F], that minimises the penalised listwise cross-entropy, by L-BFGS from zero.

    Scores are the weighted phi, above ``base_RM`` where there is one; ``share_RM`` is what should have them. The
    weights are W . x, with ``is_positive`` through the softplus.
    """
    gate_JF = torch.zeros(phi_RMJ.shape[2], x_RF.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([gate_JF], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights_RJ = x_RF @ gate_JF.T
        scores_RM = torch.einsum("rmj,rj->rm", phi_RMJ, softplus(weights_RJ, BETA) if is_positive else weights_RJ)
        scores_RM = (scores_RM if base_RM is None else scores_RM + base_RM).masked_fill(absent_RM, MASKED)
        value = (-(scores_RM.log_softmax(dim=1) * share_RM).sum() + (penalty_F * gate_JF**2).sum() / 2) / len(x_RF)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return gate_JF.detach()


def penalty(l2: float, num_features: int) -> Tensor:
    """The penalty on each feature's weights, float64 [F]: a tenth of it on the intercepts, which come last."""
    penalty_F = torch.full((num_features,), l2, dtype=torch.float64)
    penalty_F[-1] = l2 / 10
    return penalty_F


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; 1 for a constant one."""
    scale = values.std(dim=0, correction=0)
    return values.mean(dim=0), torch.where(scale > 1e-9, scale, torch.ones_like(scale))
