"""A prior over linear heads and each task's support in, Bayesian predictions for its query out, in closed form.

T tasks, K support pairs, Q query pairs, P features. The head is logistic: P(y=1) = sigmoid(w . phi) with w from a
normal prior of mean w0 and diagonal precision Lambda. Its mode is found by damped Newton steps (reweighted least
squares), its spread by Laplace's approximation there. Both forms below give the same numbers; every step is
differentiable, so phi, w0 and Lambda can be learnt through the solution (Bertinetto et al. 2019, "Meta-learning with
differentiable closed-form solvers").

    primal   one P x P Cholesky: the task's own weights w (model-based)
    dual     one K x K Cholesky: the query against the support pairs, weighed by likeness (sample-based)

A padded support pair has the mask 0 and changes nothing; a task without support gives the prior.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STEP_SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # Newton's full step overshoots where the prior is sure and wrong
CURVATURE_FLOOR = 1e-3  # added to mu (1 - mu), so that a step stays finite where the prior is sure


@dataclass(frozen=True)
class Prior:
    """Where the heads of all tasks come from."""

    mean_TP: Tensor  # w0
    precision_TP: Tensor  # the diagonal of Lambda, positive


@dataclass(frozen=True)
class Support:
    """The labelled pairs of each task."""

    phi_TKP: Tensor
    labels_TK: Tensor  # 1.0 or 0.0
    mask_TK: Tensor  # 1.0, or 0.0 for padding


@dataclass(frozen=True)
class Prediction:
    """The latent score of each query pair: its mean w . phi and its variance under the posterior."""

    logits_TQ: Tensor
    variance_TQ: Tensor


def predict(prior: Prior, support: Support, query_TQP: Tensor, *, num_steps: int) -> Prediction:
    """The cheaper of the two forms for these shapes."""
    form = predict_dual if support.phi_TKP.shape[1] < query_TQP.shape[2] else predict_primal
    return form(prior, support, query_TQP, num_steps=num_steps)


def predict_primal(prior: Prior, support: Support, query_TQP: Tensor, *, num_steps: int) -> Prediction:
    """Solve for every task's weights; ``num_steps`` Newton steps, 0 for the prior's mean."""
    mean_TP = prior.mean_TP
    for _ in range(num_steps):
        at_mean_TK = _scores(support.phi_TKP, mean_TP)
        curvature_TK, slope_TK = _curvature(at_mean_TK, support)
        shift_TK = at_mean_TK - _scores(support.phi_TKP, prior.mean_TP)
        right_TP = torch.einsum("tkp,tk->tp", support.phi_TKP, curvature_TK * shift_TK + slope_TK)
        cholesky_TPP = _precision_cholesky(prior, support, curvature_TK)
        newton_TP = torch.cholesky_solve(right_TP.unsqueeze(-1), cholesky_TPP).squeeze(-1)
        from_prior_TP = mean_TP - prior.mean_TP
        step_TP = newton_TP - from_prior_TP
        penalty_T3 = _penalty(from_prior_TP, prior.precision_TP * from_prior_TP, step_TP, prior.precision_TP * step_TP)
        share_T1 = _best_share(at_mean_TK, _scores(support.phi_TKP, step_TP), penalty_T3, support)
        mean_TP = mean_TP + share_T1 * step_TP
    curvature_TK, _ = _curvature(_scores(support.phi_TKP, mean_TP), support)
    cholesky_TPP = _precision_cholesky(prior, support, curvature_TK)
    half_TPQ = torch.linalg.solve_triangular(cholesky_TPP, query_TQP.transpose(1, 2), upper=False)
    return Prediction(_scores(query_TQP, mean_TP), (half_TPQ**2).sum(dim=1))


def predict_dual(prior: Prior, support: Support, query_TQP: Tensor, *, num_steps: int) -> Prediction:
    """The same through the kernel phi / Lambda . phi: no weights are ever made (Woodbury's identity).

    The score is w0 . phi plus the support's pairs, weighed by their likeness to the query pair.
    """
    kernel_TKK = _kernel(support.phi_TKP, support.phi_TKP, prior)
    kernel_TQK = _kernel(query_TQP, support.phi_TKP, prior)
    at_prior_TK = _scores(support.phi_TKP, prior.mean_TP)
    weights_TK = torch.zeros_like(at_prior_TK)
    for _ in range(num_steps):
        shift_TK = torch.einsum("tkj,tj->tk", kernel_TKK, weights_TK)
        curvature_TK, slope_TK = _curvature(at_prior_TK + shift_TK, support)
        root_TK, safe_TK = _root(curvature_TK, support.mask_TK)
        right_TK = root_TK * shift_TK + slope_TK / safe_TK
        cholesky_TKK = _kernel_cholesky(kernel_TKK, root_TK)
        newton_TK = root_TK * torch.cholesky_solve(right_TK.unsqueeze(-1), cholesky_TKK).squeeze(-1)
        step_TK = newton_TK - weights_TK
        change_TK = torch.einsum("tkj,tj->tk", kernel_TKK, step_TK)
        penalty_T3 = _penalty(weights_TK, shift_TK, step_TK, change_TK)
        share_T1 = _best_share(at_prior_TK + shift_TK, change_TK, penalty_T3, support)
        weights_TK = weights_TK + share_T1 * step_TK
    shift_TK = torch.einsum("tkj,tj->tk", kernel_TKK, weights_TK)
    root_TK, _ = _root(_curvature(at_prior_TK + shift_TK, support)[0], support.mask_TK)
    learnt_TKQ = torch.linalg.solve_triangular(
        _kernel_cholesky(kernel_TKK, root_TK), root_TK.unsqueeze(-1) * kernel_TQK.transpose(1, 2), upper=False
    )
    before_TQ = (query_TQP**2 / prior.precision_TP.unsqueeze(1)).sum(dim=-1)
    logits_TQ = _scores(query_TQP, prior.mean_TP) + torch.einsum("tqk,tk->tq", kernel_TQK, weights_TK)
    return Prediction(logits_TQ, before_TQ - (learnt_TKQ**2).sum(dim=1))


def moderated_logits(prediction: Prediction) -> Tensor:
    """Logits [T, Q] of P(y=1) with the uncertain weights integrated out (MacKay 1992): doubt pulls towards 1/2."""
    return prediction.logits_TQ / torch.sqrt(1 + math.pi / 8 * prediction.variance_TQ.clamp(min=0))


def _scores(phi_TNP: Tensor, weights_TP: Tensor) -> Tensor:
    return torch.einsum("tnp,tp->tn", phi_TNP, weights_TP)


def _curvature(logits_TK: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    """Second and (negative) first derivative of each pair's log loss; 0 where there is padding."""
    mu_TK = torch.sigmoid(logits_TK)
    curvature_TK = (mu_TK * (1 - mu_TK) + CURVATURE_FLOOR) * support.mask_TK
    return curvature_TK, (support.labels_TK - mu_TK) * support.mask_TK


def _penalty(at_TN: Tensor, pulled_TN: Tensor, step_TN: Tensor, pulled_step_TN: Tensor) -> Tensor:
    """The prior's share of the loss along a step, as the coefficients [T, 3] of 1, s and s^2."""
    pairs = ((at_TN, pulled_TN, 0.5), (step_TN, pulled_TN, 1.0), (step_TN, pulled_step_TN, 0.5))
    return torch.stack([half * (left * right).sum(dim=1) for left, right, half in pairs], dim=1)


def _best_share(logits_TK: Tensor, change_TK: Tensor, penalty_T3: Tensor, support: Support) -> Tensor:
    """Which share of each task's step lowers its loss the most, [T, 1]; chosen, not differentiated."""
    with torch.no_grad():
        shares_S = logits_TK.new_tensor(STEP_SHARES)
        logits_STK = logits_TK + shares_S[:, None, None] * change_TK
        labels_STK = support.labels_TK.expand_as(logits_STK)
        losses_STK = F.binary_cross_entropy_with_logits(logits_STK, labels_STK, reduction="none") * support.mask_TK
        powers_S3 = torch.stack((torch.ones_like(shares_S), shares_S, shares_S**2), dim=1)
        losses_ST = losses_STK.sum(dim=2) + powers_S3 @ penalty_T3.T
        return shares_S[losses_ST.argmin(dim=0)].unsqueeze(1)


def _precision_cholesky(prior: Prior, support: Support, curvature_TK: Tensor) -> Tensor:
    """Cholesky factor of Phi' D Phi + Lambda."""
    gram_TPP = torch.einsum("tkp,tk,tkr->tpr", support.phi_TKP, curvature_TK, support.phi_TKP)
    return torch.linalg.cholesky(gram_TPP + torch.diag_embed(prior.precision_TP))


def _kernel(left_TNP: Tensor, right_TKP: Tensor, prior: Prior) -> Tensor:
    return (left_TNP / prior.precision_TP.unsqueeze(1)) @ right_TKP.transpose(1, 2)


def _root(curvature_TK: Tensor, mask_TK: Tensor) -> tuple[Tensor, Tensor]:
    """The root of the curvature, 0 for padding, and one that can be divided by; both with finite gradients."""
    safe_TK = torch.sqrt(curvature_TK + (1 - mask_TK))
    return safe_TK * mask_TK, safe_TK


def _kernel_cholesky(kernel_TKK: Tensor, root_TK: Tensor) -> Tensor:
    """Cholesky factor of 1 + D^1/2 K D^1/2."""
    scaled_TKK = root_TK.unsqueeze(-1) * kernel_TKK * root_TK.unsqueeze(-2)
    identity_KK = torch.eye(kernel_TKK.shape[-1], dtype=kernel_TKK.dtype, device=kernel_TKK.device)
    return torch.linalg.cholesky(scaled_TKK + identity_KK)
