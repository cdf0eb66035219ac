import pytest
import torch
from torch.nn import functional as F

from crossrec_core.tensors.training import fused_softmax
from crossrec_core.tensors.training.fused_softmax import linear_cross_entropy


def random_case(num_positions=37, num_candidates=23, width=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    queries_PD = torch.randn(num_positions, width, generator=generator, dtype=dtype).requires_grad_()
    vectors_VD = torch.randn(num_candidates, width, generator=generator, dtype=dtype).requires_grad_()
    return queries_PD, vectors_VD, torch.randint(0, num_candidates, (num_positions,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 8, 64])
def test_loss_and_gradients_are_those_of_the_whole_logits_for_every_block_of_rows(monkeypatch, rows, smoothing):
    monkeypatch.setattr(fused_softmax, "MIN_ROWS", rows)
    monkeypatch.setattr(fused_softmax, "BLOCK_LOGITS", 1)
    queries_PD, vectors_VD, places_P = random_case()
    expected = F.cross_entropy(queries_PD @ vectors_VD.T, places_P, label_smoothing=smoothing)
    wanted = torch.autograd.grad(3 * expected, (queries_PD, vectors_VD))
    found = linear_cross_entropy(queries_PD, vectors_VD, places_P, smoothing=smoothing)
    got = torch.autograd.grad(3 * found, (queries_PD, vectors_VD))
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)
    for own, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


def test_large_logits_do_not_overflow():
    queries_PD, vectors_VD, places_P = random_case(dtype=torch.float32)
    loss = linear_cross_entropy(queries_PD * 1e4, vectors_VD, places_P)
    assert bool(torch.isfinite(loss))


def test_half_precision_inputs_give_a_float32_loss_and_half_gradients():
    queries_PD, vectors_VD, places_P = random_case(dtype=torch.float32)
    expected = linear_cross_entropy(queries_PD, vectors_VD, places_P)
    halves = [values.detach().bfloat16().requires_grad_() for values in (queries_PD, vectors_VD)]
    found = linear_cross_entropy(*halves, places_P)
    found.backward()
    assert found.dtype == torch.float32
    assert halves[0].grad.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("cached", [1, 3, 5, 100])
def test_autocast_keeps_sums_in_float32_and_moves_loss_and_gradients_by_its_rounding_only(
    monkeypatch, cached, smoothing
):
    monkeypatch.setattr(fused_softmax, "MIN_ROWS", 8)  # five hundred blocks add up
    monkeypatch.setattr(fused_softmax, "HALF_BLOCK_LOGITS", 1)
    monkeypatch.setattr(fused_softmax, "CACHED_LOGITS", cached * 23)  # rows that are turned at a time
    queries_PD, vectors_VD, places_P = random_case(num_positions=4_001, dtype=torch.float32)
    expected = linear_cross_entropy(queries_PD, vectors_VD, places_P, smoothing=smoothing)
    wanted = torch.autograd.grad(expected, (queries_PD, vectors_VD))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(queries_PD, vectors_VD, places_P, smoothing=smoothing)
    got = torch.autograd.grad(found, (queries_PD, vectors_VD))
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.0)
    for own, other in zip(got, wanted, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.01 * other.norm()
