import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossrec_core.tensors.meta_learning.bayes_head import (
    CURVATURE_FLOOR,
    Prediction,
    Prior,
    Support,
    moderated_logits,
    predict,
    predict_dual,
    predict_primal,
)

FORMS = [predict_primal, predict_dual]


def make_world(
    *, num_tasks: int = 4, num_support: int = 7, num_query: int = 5, width: int = 4, seed: int = 0, dtype=torch.float64
) -> tuple[Prior, Support, Tensor]:
    """Tasks with normal heads around w0, and a support of a length of its own for each."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    phi_TKP, query_TQP = normal(num_tasks, num_support, width), normal(num_tasks, num_query, width)
    mean_TP, precision_TP = normal(num_tasks, width), normal(num_tasks, width).exp()
    w_TP = mean_TP + normal(num_tasks, width) * precision_TP**-0.5
    chance_TK = torch.sigmoid(torch.einsum("tkp,tp->tk", phi_TKP, w_TP))
    labels_TK = (torch.rand(num_tasks, num_support, generator=generator, dtype=torch.float64) < chance_TK).double()
    sizes_T = torch.randint(0, num_support + 1, (num_tasks, 1), generator=generator)
    mask_TK = (torch.arange(num_support) < sizes_T).double()
    prior, support = Prior(mean_TP.to(dtype), precision_TP.to(dtype)), (phi_TKP, labels_TK, mask_TK)
    return prior, Support(*(values.to(dtype) for values in support)), query_TQP.to(dtype)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 12), st.integers(0, 4), st.integers(0, 10_000))
def test_both_forms_give_the_same_numbers(num_support: int, width: int, num_steps: int, seed: int) -> None:
    world = make_world(num_support=num_support, width=width, seed=seed)
    primal, dual = (form(*world, num_steps=num_steps) for form in FORMS)
    torch.testing.assert_close(dual.logits_TQ, primal.logits_TQ, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(dual.variance_TQ, primal.variance_TQ, rtol=1e-7, atol=1e-7)


def test_both_forms_agree_in_single_precision() -> None:
    world = make_world(num_tasks=64, num_support=16, width=16, dtype=torch.float32)
    primal, dual = (form(*world, num_steps=2) for form in FORMS)
    torch.testing.assert_close(dual.logits_TQ, primal.logits_TQ, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dual.variance_TQ, primal.variance_TQ, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_without_support_the_prior_answers(form) -> None:
    prior, support, query_TQP = make_world()
    nothing = Support(support.phi_TKP, support.labels_TK, torch.zeros_like(support.mask_TK))
    found = form(prior, nothing, query_TQP, num_steps=2)
    torch.testing.assert_close(found.logits_TQ, torch.einsum("tqp,tp->tq", query_TQP, prior.mean_TP))
    torch.testing.assert_close(found.variance_TQ, (query_TQP**2 / prior.precision_TP.unsqueeze(1)).sum(-1))


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_end_at_the_mode_and_their_spread_is_the_curvature_there(form) -> None:
    prior, support, _ = make_world(width=4)
    axes_TPP = torch.eye(4).double().expand(4, 4, 4)
    found = form(prior, support, axes_TPP, num_steps=25)
    w_TP = found.logits_TQ
    mu_TK = torch.sigmoid(torch.einsum("tkp,tp->tk", support.phi_TKP, w_TP))
    pull_TP = torch.einsum("tkp,tk->tp", support.phi_TKP, (support.labels_TK - mu_TK) * support.mask_TK)
    torch.testing.assert_close(pull_TP, prior.precision_TP * (w_TP - prior.mean_TP), rtol=1e-6, atol=1e-6)
    curvature_TK = (mu_TK * (1 - mu_TK) + CURVATURE_FLOOR) * support.mask_TK
    hessian_TPP = torch.einsum("tkp,tk,tkr->tpr", support.phi_TKP, curvature_TK, support.phi_TKP)
    spread_TPP = torch.linalg.inv(hessian_TPP + torch.diag_embed(prior.precision_TP))
    torch.testing.assert_close(found.variance_TQ, spread_TPP.diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_through_the_solution_are_exact(form) -> None:
    prior, support, query_TQP = make_world(num_tasks=3, num_support=4, num_query=2, width=3)
    support.mask_TK[0] = 0

    def moderated(mean_TP: Tensor, log_precision_TP: Tensor, phi_TKP: Tensor, query_TQP: Tensor) -> Tensor:
        known = Support(phi_TKP, support.labels_TK, support.mask_TK)
        return moderated_logits(form(Prior(mean_TP, log_precision_TP.exp()), known, query_TQP, num_steps=2))

    inputs = (prior.mean_TP, prior.precision_TP.log(), support.phi_TKP, query_TQP)
    assert torch.autograd.gradcheck(moderated, [values.clone().requires_grad_() for values in inputs])


@pytest.mark.parametrize("form", FORMS)
def test_padding_and_order_of_the_support_change_nothing(form) -> None:
    prior, support, query_TQP = make_world(num_support=6)
    order_K = torch.tensor([5, 2, 0, 1, 4, 3])
    spoilt_TKP = torch.where(support.mask_TK.unsqueeze(2) == 0, torch.full_like(support.phi_TKP, 7.0), support.phi_TKP)
    spoilt_TK = torch.where(support.mask_TK == 0, 1 - support.labels_TK, support.labels_TK)
    turned = Support(spoilt_TKP[:, order_K], spoilt_TK[:, order_K], support.mask_TK[:, order_K])
    before, after = (form(prior, known, query_TQP, num_steps=2) for known in (support, turned))
    torch.testing.assert_close(after.logits_TQ, before.logits_TQ)
    torch.testing.assert_close(after.variance_TQ, before.variance_TQ)


@pytest.mark.parametrize(("num_support", "width"), [(3, 8), (8, 3)])
def test_the_smaller_matrix_is_solved(num_support: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, cholesky = [], torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda matrix: (sizes.append(matrix.shape[-1]), cholesky(matrix))[1])
    predict(*make_world(num_support=num_support, width=width), num_steps=2)
    assert set(sizes) == {3}


def test_doubt_pulls_the_probability_towards_a_half() -> None:
    sure, unsure = (Prediction(torch.tensor([[2.0, -2.0]]), torch.full((1, 2), v)) for v in (0.0, 8 / math.pi * 3))
    assert moderated_logits(sure).tolist() == [[2.0, -2.0]]
    assert moderated_logits(unsure)[0].tolist() == pytest.approx([1.0, -1.0])


def test_sixteen_examples_bring_it_near_the_best_possible_loss() -> None:
    """The Bayes answer is known by sampling heads from the prior and weighing them by the support's likelihood."""
    generator = torch.Generator().manual_seed(3)
    num_tasks, width = 300, 3
    mean_P, scale = torch.tensor([1.0, -1.0, 0.5]).double(), 1.5
    x_TNP = torch.randn(num_tasks, 16 + 20, width, generator=generator).double()
    w_TP = mean_P + scale * torch.randn(num_tasks, width, generator=generator).double()
    chance_TN = torch.sigmoid(torch.einsum("tnp,tp->tn", x_TNP, w_TP))
    labels_TN = (torch.rand(chance_TN.shape, generator=generator) < chance_TN).double()
    support = Support(x_TNP[:, :16], labels_TN[:, :16], torch.ones(num_tasks, 16).double())
    prior = Prior(mean_P.expand(num_tasks, -1), torch.full((num_tasks, width), scale**-2).double())
    query_TQP, truth_TQ = x_TNP[:, 16:], labels_TN[:, 16:]
    sampled_SP = mean_P + scale * torch.randn(4_000, width, generator=generator).double()
    logits_TSN = torch.einsum("tnp,sp->tsn", x_TNP, sampled_SP)
    log_chance_TS = -torch.nn.functional.softplus(
        torch.where(support.labels_TK.unsqueeze(1) == 1, -1, 1) * logits_TSN[..., :16]
    ).sum(dim=2)
    bayes_TQ = torch.einsum("ts,tsq->tq", log_chance_TS.softmax(dim=1), torch.sigmoid(logits_TSN[..., 16:]))
    log_loss = torch.nn.functional.binary_cross_entropy
    best = float(log_loss(bayes_TQ, truth_TQ))
    found = float(log_loss(moderated_logits(predict(prior, support, query_TQP, num_steps=3)).sigmoid(), truth_TQ))
    without = float(log_loss(torch.sigmoid(query_TQP @ mean_P), truth_TQ))
    assert found < best + 0.003
    assert without > best + 0.1
