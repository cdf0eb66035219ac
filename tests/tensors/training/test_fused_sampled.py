import pytest
import torch
from torch.nn import functional as F

from crossrec_core.tensors.training import fused_sampled
from crossrec_core.tensors.training.fused_sampled import sampled_cross_entropy

P, K, D = 37, 11, 5


def random_case(dtype=torch.float64, num_positions=P):
    """Vectors, and numbers of targets of which most are among the negatives too."""
    generator = torch.Generator().manual_seed(4)
    sizes = {"queries": num_positions, "targets": num_positions, "negatives": K}
    vectors = [torch.randn(n, D, generator=generator, dtype=dtype).requires_grad_() for n in sizes.values()]
    target_nums_P = torch.randint(0, 15, (num_positions,), generator=generator)
    return vectors, target_nums_P, torch.arange(K), torch.randn(K, generator=generator)


def as_torch_does(vectors, target_nums_P, negative_nums_K, log_expected_K, smoothing):
    """Row by row: the target first, then the negatives that are there."""
    queries_PD, targets_PD, negatives_KD = vectors
    losses = []
    for query_D, target_D, num in zip(queries_PD, targets_PD, target_nums_P, strict=True):
        there_K = negative_nums_K != num
        logits = torch.cat(((query_D @ target_D)[None], (negatives_KD @ query_D - log_expected_K)[there_K]))
        losses.append(F.cross_entropy(logits[None], torch.tensor([0]), label_smoothing=smoothing))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 8, 64])
def test_loss_and_gradients_are_those_of_the_whole_logits_for_every_block_of_rows(monkeypatch, rows, smoothing):
    monkeypatch.setattr(fused_sampled, "MIN_ROWS", rows)
    monkeypatch.setattr(fused_sampled, "BLOCK_LOGITS", 1)
    vectors, *rest = random_case()
    expected = as_torch_does(vectors, *rest, smoothing)
    wanted = torch.autograd.grad(3 * expected, vectors)
    found = sampled_cross_entropy(*vectors, *rest, smoothing=smoothing)
    got = torch.autograd.grad(3 * found, vectors)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)
    for own, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


def test_a_position_without_any_negative_of_its_own_costs_nothing_and_moves_nothing():
    vectors, _, _, _ = random_case(dtype=torch.float32)
    nums_P, nums_K = torch.full((P,), 3), torch.full((K,), 3)
    for smoothing in (0.0, 0.1):
        loss = sampled_cross_entropy(*vectors, nums_P, nums_K, None, smoothing=smoothing)
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
        for grad in torch.autograd.grad(loss, vectors):
            torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-6, rtol=0)


def test_large_logits_do_not_overflow():
    (queries_PD, *others), *rest = random_case(dtype=torch.float32)
    loss = sampled_cross_entropy(queries_PD * 1e4, *others, *rest)
    assert bool(torch.isfinite(loss))
    assert all(bool(grad.isfinite().all()) for grad in torch.autograd.grad(loss, others))


def test_autocast_keeps_sums_in_float32_and_moves_loss_and_gradients_by_its_rounding_only(monkeypatch):
    monkeypatch.setattr(fused_sampled, "MIN_ROWS", 8)  # five hundred blocks add up
    monkeypatch.setattr(fused_sampled, "BLOCK_LOGITS", 1)
    vectors, *rest = random_case(dtype=torch.float32, num_positions=4_000)
    expected = sampled_cross_entropy(*vectors, *rest)
    wanted = torch.autograd.grad(expected, vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sampled_cross_entropy(*vectors, *rest)
    got = torch.autograd.grad(found, vectors)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.0)
    for own, other in zip(got, wanted, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.01 * other.norm()
