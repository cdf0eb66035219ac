from dataclasses import replace

import pytest
import torch

from crossrec_core.tensors.meta_learning.meta_heads import (
    HEADS,
    POOLED,
    BayesHead,
    HeadConfig,
    build_head,
    fit_scale,
    start_calibrated,
)
from crossrec_core.tensors.meta_learning.task_features import IN_CONTEXT, Tasks

T, K, Q, F = 6, 5, 4, 7
METHODS = list(HEADS)


def make_tasks(*, seed: int = 0) -> Tasks:
    generator = torch.Generator().manual_seed(seed)
    x_TKF, query_TQF = (torch.randn(T, n, F, generator=generator) for n in (K, Q))
    labels_TK, labels_TQ = ((torch.rand(T, n, generator=generator) < 0.4).float() for n in (K, Q))
    mask_TK = (torch.arange(K) < torch.arange(T).unsqueeze(1)).float()
    return Tasks(x_TKF, labels_TK, mask_TK, query_TQF, labels_TQ, torch.ones(T, Q), torch.ones(T, dtype=torch.int64))


def make_head(method: str, *, is_fresh: bool = False) -> torch.nn.Module:
    """With other weights than the first ones, so that what starts at zero has a part too."""
    head = build_head(HeadConfig(method, F, 2, 6, 5, 2, 0.3), seed=1)
    if not is_fresh:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for value in head.parameters():
                value.add_(0.5 * torch.randn(value.shape, generator=generator))
    return head


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_order_of_the_support_change_nothing(method: str) -> None:
    head, tasks = make_head(method), make_tasks()
    order_K = torch.tensor([3, 0, 4, 2, 1])
    padding = tasks.support_mask_TK == 0
    turned = replace(
        tasks,
        support_TKF=tasks.support_TKF.masked_fill(padding.unsqueeze(2), 5.0)[:, order_K],
        support_labels_TK=torch.where(padding, 1 - tasks.support_labels_TK, tasks.support_labels_TK)[:, order_K],
        support_mask_TK=tasks.support_mask_TK[:, order_K],
    )
    torch.testing.assert_close(head(turned), head(tasks), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [method for method in METHODS if method != POOLED])
def test_the_support_changes_the_answers_of_its_own_task_only(method: str) -> None:
    head, tasks = make_head(method), make_tasks()
    flipped_TK = tasks.support_labels_TK.clone()
    flipped_TK[5] = 1 - flipped_TK[5]
    before_TQ, after_TQ = head(tasks), head(replace(tasks, support_labels_TK=flipped_TK))
    torch.testing.assert_close(after_TQ[:5], before_TQ[:5])
    assert (after_TQ[5] - before_TQ[5]).abs().min() > 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_head_without_support_ranks_as_the_in_context_model(method: str) -> None:
    tasks = make_tasks()
    asked = replace(tasks, support_mask_TK=torch.zeros(T, K))
    logits_TQ = make_head(method, is_fresh=True)(asked)
    if method == "bayes":  # doubt shrinks a logit: the weights' means are what starts there
        head = make_head(method, is_fresh=True)
        prior = head.prior(asked.domains_T)
        logits_TQ = torch.einsum("tqp,tp->tq", head.network(asked.query_TQF), prior.mean_TP)
    torch.testing.assert_close(logits_TQ, tasks.query_TQF[..., IN_CONTEXT])


def test_the_pooled_head_steps_only_when_asked_to() -> None:
    head, tasks = make_head(POOLED), make_tasks()
    assert torch.equal(head(tasks), head.after(tasks, num_steps=0))
    stepped_TQ = head.after(tasks, num_steps=2)
    torch.testing.assert_close(stepped_TQ[0], head(tasks)[0])  # no support
    assert not torch.allclose(stepped_TQ[5], head(tasks)[5], atol=1e-3)


def test_anil_and_maml_differ_by_what_they_adapt() -> None:
    tasks = make_tasks()
    assert not torch.allclose(make_head("anil")(tasks), make_head("maml")(tasks), atol=1e-4)
    torch.testing.assert_close(make_head("fomaml")(tasks), make_head("maml")(tasks))  # they differ in gradients


def test_domains_have_priors_of_their_own_and_an_unknown_one_has_none() -> None:
    tasks, head = make_tasks(), build_head(HeadConfig("bayes", F, 2, 6, 5, 2, 0.3), seed=1)
    assert isinstance(head, BayesHead)
    with torch.no_grad():
        head.domain_means.weight[2, 0] = 3.0
    means = [head.prior(tasks.domains_T * number).mean_TP[0, 0] for number in (0, 1, 2)]
    assert means == [1.0, 1.0, 4.0]


def test_features_are_standardised_by_training_pairs_and_constant_ones_weigh_nothing() -> None:
    head = make_head("bayes")
    x_NF = torch.randn(200, F, generator=torch.Generator().manual_seed(4)) * 5 + 3
    x_NF[:, 2] = 7.0
    fit_scale(head, x_NF)
    scaled_NF = (x_NF - head.network.mean_F) / head.network.scale_F
    torch.testing.assert_close(scaled_NF.mean(dim=0), torch.zeros(F), rtol=0, atol=1e-4)
    assert not scaled_NF[:, 2].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_head_is_the_in_context_model_calibrated(method: str) -> None:
    tasks, generator = make_tasks(), torch.Generator().manual_seed(5)
    x_NF = 4 * torch.randn(4_000, F, generator=generator) - 3
    labels_N = (torch.rand(4_000, generator=generator) < torch.sigmoid(0.6 * x_NF[:, IN_CONTEXT] - 1)).float()
    head = make_head(method, is_fresh=True)
    fit_scale(head, x_NF)
    start_calibrated(head, x_NF, labels_N)
    logits_TQ = head(replace(tasks, support_mask_TK=torch.zeros(T, K)))
    expected_TQ = 0.6 * tasks.query_TQF[..., IN_CONTEXT] - 1
    torch.testing.assert_close(logits_TQ, expected_TQ, rtol=0.1, atol=0.15)


def test_a_fresh_closed_form_keeps_the_in_context_order_under_a_few_pairs() -> None:
    tasks, generator = make_tasks(), torch.Generator().manual_seed(7)
    x_NF = torch.randn(4_000, F, generator=generator)
    labels_N = (torch.rand(4_000, generator=generator) < torch.sigmoid(x_NF[:, IN_CONTEXT])).float()
    head = make_head("bayes", is_fresh=True)
    fit_scale(head, x_NF)
    start_calibrated(head, x_NF, labels_N)
    one_event = replace(tasks, support_mask_TK=torch.ones(T, K))
    without = replace(tasks, support_mask_TK=torch.zeros(T, K))
    moved_TQ, start_TQ = head(one_event).detach(), head(without).detach()
    assert 1e-4 < float((moved_TQ - start_TQ).abs().max()) < 0.1


def test_a_head_never_starts_with_the_order_turned_around() -> None:
    x_NF, tasks = torch.randn(200, F, generator=torch.Generator().manual_seed(6)), make_tasks()
    head = make_head(POOLED, is_fresh=True)
    fit_scale(head, x_NF)
    start_calibrated(head, x_NF, (x_NF[:, IN_CONTEXT] < 0).float())
    order_TQ, expected_TQ = head(tasks).argsort(dim=1), tasks.query_TQF[..., IN_CONTEXT].argsort(dim=1)
    assert torch.equal(order_TQ, expected_TQ)


def test_the_seed_alone_makes_a_head() -> None:
    first, second = (make_head("neural_process", is_fresh=True).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
