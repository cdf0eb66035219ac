"""Queries, their targets and negatives for all of them in, the mean cross-entropy out, a few rows at a time.

As ``fused_softmax``: a block is scored, turned into probabilities and into its part of all gradients while it lies in
the cache. The target is kept apart from the negatives: next to them in one matrix it would cost a copy of all logits,
and another of their gradients.

    loss = log(exp(s) + sum_k exp(s_k)) - s,  s the target's logit, s_k those of negatives that are not the target

P positions, K negatives, R rows of a block, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossrec_core.tensors.devices import as_multiplied
from crossrec_core.tensors.training.fused_softmax import MIN_ROWS, block_logits

BLOCK_LOGITS = 2**19  # 2 MiB of float32 stay in a core's cache; negatives are few, so that these are rows enough
ABSENT = -1e30  # a logit that is out; where all are, -inf would make their softmax nan


def sampled_cross_entropy(
    queries_PD: Tensor, targets_PD: Tensor, negatives_KD: Tensor, target_nums_P: Tensor, negative_nums_K: Tensor,
    log_expected_K: Tensor | None, *, smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Mean over P; a negative with the number of a position's own target is not there for it.

    ``log_expected_K`` is taken off the negatives' logits. ``smoothing`` gives that share of the target's probability
    to all that are there alike. float32, whatever the inputs; differentiable once.
    """
    loss: Tensor = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
        queries_PD, targets_PD, negatives_KD, target_nums_P, negative_nums_K, log_expected_K, smoothing
    )
    return loss


class _SampledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries_PD: Tensor, targets_PD: Tensor, negatives_KD: Tensor, target_nums_P: Tensor,
        negative_nums_K: Tensor, log_expected_K: Tensor | None, smoothing: float,
    ) -> Tensor:  # fmt: skip
        num_positions = len(queries_PD)
        queries_PD, targets_PD, negatives_KD = map(as_multiplied, (queries_PD, targets_PD, negatives_KD))
        # Sums over many blocks: bfloat16 would swallow the later ones
        summed = torch.promote_types(queries_PD.dtype, torch.float32)
        queries_grad_PD, targets_grad_PD = (torch.empty_like(each, dtype=summed) for each in (queries_PD, targets_PD))
        negatives_grad_KD = torch.zeros_like(negatives_KD, dtype=summed)
        loss = torch.zeros((), dtype=torch.float32, device=queries_PD.device)
        num_rows = max(MIN_ROWS, block_logits(queries_PD.device, BLOCK_LOGITS) // len(negatives_KD))
        for start in range(0, num_positions, num_rows):
            rows = slice(start, start + num_rows)
            queries_RD, targets_RD = queries_PD[rows], targets_PD[rows]
            is_target_RK = target_nums_P[rows, None] == negative_nums_K
            wanted_R1 = (queries_RD.to(summed) * targets_RD).sum(dim=1, keepdim=True)
            logits_RK = queries_RD @ negatives_KD.T
            if log_expected_K is not None:
                logits_RK = logits_RK - log_expected_K.to(summed)
            logits_RK.masked_fill_(is_target_RK, ABSENT)
            # float32 on GPUs too: the target's gradient is 1 less what comes of it, and may be small
            p_RK = logits_RK.softmax(dim=1, dtype=torch.float32)
            # The largest probability is at least 1 / K: its logarithm is sure
            largest_R1, at_R1 = logits_RK.max(dim=1, keepdim=True)
            total_R1 = torch.logaddexp(largest_R1.to(summed) - p_RK.gather(1, at_R1).log(), wanted_R1)
            loss += (total_R1 - wanted_R1).sum()
            target_p_R1 = (wanted_R1 - total_R1).exp()
            # From here on p and target_p hold the loss's gradient to the logits
            p_RK.mul_(1 - target_p_R1)
            target_p_R1 -= 1
            if smoothing:
                each_R1 = smoothing / (1 + (~is_target_RK).sum(dim=1, keepdim=True))
                others_R1 = logits_RK.masked_fill(is_target_RK, 0.0).sum(dim=1, keepdim=True, dtype=summed)
                loss += (smoothing * wanted_R1 - each_R1 * (wanted_R1 + others_R1)).sum()
                p_RK.sub_(each_R1 * ~is_target_RK)
                target_p_R1 += smoothing - each_R1
            grad_RK = p_RK.to(queries_PD.dtype)
            queries_grad_PD[rows] = grad_RK @ negatives_KD + target_p_R1 * targets_RD
            targets_grad_PD[rows] = target_p_R1 * queries_RD
            negatives_grad_KD += grad_RK.T @ queries_RD
        grads = (queries_grad_PD, targets_grad_PD, negatives_grad_KD)
        ctx.save_for_backward(*(each.div_(num_positions) for each in grads))
        return loss / num_positions

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad * each for each in ctx.saved_tensors), None, None, None, None
