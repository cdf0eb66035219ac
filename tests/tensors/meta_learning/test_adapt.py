import pytest
import torch
from torch import Tensor

from crossrec_core.tensors.meta_learning.adapt import (
    Params,
    adapt,
    adapted_logits,
    anil,
    first_order_maml,
    maml,
    masked_log_loss,
    reptile_loss,
)

T, K, Q, F, H = 3, 5, 4, 3, 4
STEPS = {"num_steps": 2, "inner_lr": 0.5}


def predict(params: Params, x_NF: Tensor) -> Tensor:
    return torch.tanh(x_NF @ params["body_FH"]) @ params["head_H"]


def make_params(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"body_FH": (F, H), "head_H": (H,)}
    return {n: torch.randn(s, generator=generator).double().requires_grad_() for n, s in shapes.items()}


def make_support(seed: int = 1) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_TKF, query_TQF = (torch.randn(T, n, F, generator=generator).double() for n in (K, Q))
    labels_TK = (torch.rand(T, K, generator=generator) < 0.5).double()
    mask_TK = torch.ones(T, K).double()
    mask_TK[0], mask_TK[1, 3:] = 0, 0
    return (x_TKF, labels_TK, mask_TK), query_TQF


def test_zero_steps_return_the_same_tensors() -> None:
    params = make_params()
    same = adapt(params, lambda moved: moved["head_H"].sum(), num_steps=0, inner_lr=0.1, first_order=False)
    assert all(same[name] is params[name] for name in params)


def test_a_step_goes_down_the_gradient_and_leaves_the_start_alone() -> None:
    start = {"w": torch.tensor([3.0])}
    end = adapt(start, lambda moved: (moved["w"] ** 2).sum(), num_steps=2, inner_lr=0.25, first_order=False)
    assert end["w"].item() == 3.0 * 0.5 * 0.5
    assert start["w"].item() == 3.0


def test_the_second_order_gradient_equals_finite_differences() -> None:
    support, query_TQF = make_support()
    params = make_params()

    def outer(body_FH: Tensor, head_H: Tensor) -> Tensor:
        return maml(predict, {"body_FH": body_FH, "head_H": head_H}, support, query_TQF, **STEPS)

    assert torch.autograd.gradcheck(outer, tuple(params.values()))


def test_the_first_order_gradient_is_that_at_the_adapted_parameters() -> None:
    support, query_TQF = make_support()
    params = make_params()
    first_order_maml(predict, params, support, query_TQF, **STEPS).sum().backward()
    expected = {name: torch.zeros_like(value) for name, value in params.items()}
    for at in range(T):
        of_task = [values[at] for values in support]
        loss = lambda moved, task=of_task: masked_log_loss(predict(moved, task[0]), task[1], task[2])  # noqa: E731
        moved = adapt({n: v.detach() for n, v in params.items()}, loss, first_order=True, **STEPS)
        moved = {name: value.detach().requires_grad_() for name, value in moved.items()}
        predict(moved, query_TQF[at]).sum().backward()
        expected = {name: expected[name] + moved[name].grad for name in expected}
    for name, value in params.items():
        torch.testing.assert_close(value.grad, expected[name])
    exact = make_params()
    maml(predict, exact, support, query_TQF, **STEPS).sum().backward()
    assert not torch.allclose(exact["body_FH"].grad, params["body_FH"].grad)


def test_all_tasks_at_once_equal_one_after_the_other() -> None:
    support, query_TQF = make_support()
    params = make_params()
    together_TQ = maml(predict, params, support, query_TQF, **STEPS)
    for at in range(T):
        alone_1Q = maml(predict, params, tuple(v[at : at + 1] for v in support), query_TQF[at : at + 1], **STEPS)
        torch.testing.assert_close(together_TQ[at : at + 1], alone_1Q)


def test_a_task_without_support_keeps_its_parameters() -> None:
    support, query_TQF = make_support()
    params = make_params()
    torch.testing.assert_close(maml(predict, params, support, query_TQF, **STEPS)[0], predict(params, query_TQF[0]))


def test_anil_moves_the_head_alone() -> None:
    support, query_TQF = make_support()
    params = make_params()
    found_TQ = anil(predict, params, support, query_TQF, head=("head_H",), **STEPS)
    x_KF, labels_K, mask_K = (values[2] for values in support)
    phi_KH, head_H = torch.tanh(x_KF @ params["body_FH"]), params["head_H"]
    for _ in range(STEPS["num_steps"]):
        slope_K = (torch.sigmoid(phi_KH @ head_H) - labels_K) * mask_K / mask_K.sum()
        head_H = head_H - STEPS["inner_lr"] * phi_KH.T @ slope_K
    torch.testing.assert_close(found_TQ[2], torch.tanh(query_TQF[2] @ params["body_FH"]) @ head_H)


@pytest.mark.parametrize("first_order", [True, False])
def test_padding_and_order_of_the_support_change_nothing(first_order: bool) -> None:
    (x_TKF, labels_TK, mask_TK), query_TQF = make_support()
    how = {"first_order": first_order, "adapted": ("body_FH", "head_H"), **STEPS}
    params = make_params()
    before_TQ = adapted_logits(predict, params, (x_TKF, labels_TK, mask_TK), query_TQF, **how)
    spoilt_TKF = torch.where(mask_TK.unsqueeze(2) == 0, torch.full_like(x_TKF, 9.0), x_TKF)
    order_K = torch.tensor([3, 0, 4, 1, 2])
    turned = (spoilt_TKF[:, order_K], labels_TK[:, order_K], mask_TK[:, order_K])
    torch.testing.assert_close(adapted_logits(predict, params, turned, query_TQF, **how), before_TQ)


def test_the_gradient_of_reptiles_loss_points_from_where_the_tasks_end() -> None:
    support, _ = make_support()
    params = make_params()
    reptile_loss(predict, params, support, **STEPS).backward()
    ends = []
    for at in range(T):
        of_task = [values[at] for values in support]
        loss = lambda moved, task=of_task: masked_log_loss(predict(moved, task[0]), task[1], task[2])  # noqa: E731
        ends.append(adapt({n: v.detach() for n, v in params.items()}, loss, first_order=True, **STEPS))
    for name, value in params.items():
        mean = torch.stack([end[name] for end in ends]).mean(dim=0)
        torch.testing.assert_close(value.grad, value.detach() - mean)
