"""Queries, candidates and the targets' places in, the mean cross-entropy out; the logits of a few rows exist at a time.

Autograd would keep all P x V logits, and walk over them again for each of its five steps. Here a block of rows is
scored, turned into probabilities and into its part of both gradients while it lies in the cache (as in "Cut your
losses", Wijmans et al. 2024, and Liger's fused linear cross-entropy). The gradients are ready before backward begins.

In bfloat16 a CPU's products want more rows than the softmax: each reads, and one writes, as many numbers as there are
candidates whatever the rows, while a softmax is fastest on what lies in a core's own cache. So a block is multiplied as
a whole and turned into probabilities a few rows at a time. In float32 the products are slow enough not to notice.

P positions, V candidates, R rows of a block, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossrec_core.tensors.devices import as_multiplied

BLOCK_LOGITS = 2**19  # 2 MiB of float32 stay in a core's cache
HALF_BLOCK_LOGITS, CACHED_LOGITS = 2**22, 2**18  # in bfloat16: of a block, 8 MiB in the cores' common cache; of a part
# A GPU has no such caches: the larger the block, the fewer passes over the item vectors' gradient
GPU_BLOCK_SHARE = 1 / 32  # of its memory
GPU_LOGIT_BYTES = 8  # a block's logits and probabilities
SMALLEST = torch.finfo(torch.float32).tiny  # a target less probable than that counts as that in the loss's value
MIN_ROWS = 64  # fewer would make narrow products of what a GEMM does well


def linear_cross_entropy(queries_PD: Tensor, vectors_VD: Tensor, places_P: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean over P of ``-(1 - smoothing) log p(target) - smoothing mean_V(log p)``, p the softmax of queries . vectors.

    float32, whatever the inputs; differentiable once. Under autocast the three products run in its type, all else in
    float32.
    """
    loss: Tensor = _LinearCrossEntropy.apply(queries_PD, vectors_VD, places_P, smoothing)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries_PD: Tensor, vectors_VD: Tensor, places_P: Tensor, smoothing: float) -> Tensor:
        num_positions, num_candidates = len(queries_PD), len(vectors_VD)
        queries_PD, vectors_VD = as_multiplied(queries_PD), as_multiplied(vectors_VD)
        # Sums over many blocks: bfloat16 would swallow the later ones
        summed = torch.promote_types(queries_PD.dtype, torch.float32)
        queries_grad_PD = torch.empty_like(queries_PD, dtype=summed)
        vectors_grad_VD = torch.zeros_like(vectors_VD, dtype=summed)
        loss = torch.zeros((), dtype=torch.float32, device=queries_PD.device)
        in_cache = HALF_BLOCK_LOGITS if queries_PD.element_size() < 4 else BLOCK_LOGITS
        num_rows = max(MIN_ROWS, block_logits(queries_PD.device, in_cache) // num_candidates)
        # One for all blocks: memory that is new to the process is slower to write than all else here
        buffer_RV = queries_PD.new_empty(min(num_rows, num_positions), num_candidates)
        for start in range(0, num_positions, num_rows):
            rows = slice(start, start + num_rows)
            queries_RD = queries_PD[rows]
            logits_RV = torch.mm(queries_RD, vectors_VD.T, out=buffer_RV[: len(queries_RD)])
            losses_sum, grad_RV = _to_gradient(logits_RV, places_P[rows, None], smoothing)
            loss += losses_sum
            queries_grad_PD[rows] = grad_RV @ vectors_VD
            vectors_grad_VD += grad_RV.T @ queries_RD
        ctx.save_for_backward(queries_grad_PD / num_positions, vectors_grad_VD / num_positions)
        return loss / num_positions

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries_grad_PD, vectors_grad_VD = ctx.saved_tensors
        return grad * queries_grad_PD, grad * vectors_grad_VD, None, None


def block_logits(device: torch.device, on_cpu: int) -> int:
    """How many logits a block has at most: ``on_cpu`` of them on a CPU, what a part of its memory holds on a GPU."""
    if device.type != "cuda":
        return on_cpu
    return int(torch.cuda.get_device_properties(device).total_memory * GPU_BLOCK_SHARE) // GPU_LOGIT_BYTES


def _to_gradient(logits_RV: Tensor, places_R1: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The sum of the rows' losses, and their gradient to the logits in the logits' type."""
    if logits_RV.device.type == "cuda":
        # The softmax sums in float32 whatever it writes, and a GPU's time goes into what is read and written
        return _turn(logits_RV, places_R1, smoothing, probabilities=logits_RV.dtype)
    if logits_RV.element_size() >= 4:
        losses_sum, grad_RV = _turn(logits_RV, places_R1, smoothing, probabilities=torch.float32)
        return losses_sum, grad_RV.to(logits_RV.dtype)
    num_cached = max(1, CACHED_LOGITS // logits_RV.shape[1])
    loss = torch.zeros((), dtype=torch.float32)
    for logits_CV, places_C1 in zip(logits_RV.split(num_cached), places_R1.split(num_cached), strict=True):
        losses_sum, grad_CV = _turn(logits_CV, places_C1, smoothing, probabilities=torch.float32)
        loss += losses_sum
        logits_CV.copy_(grad_CV)  # in its place: a block of both would not fit
    return loss, logits_RV


def _turn(
    logits_RV: Tensor, places_R1: Tensor, smoothing: float, *, probabilities: torch.dtype
) -> tuple[Tensor, Tensor]:
    """As ``_to_gradient``, the gradient in the type of the probabilities."""
    wanted_R1 = logits_RV.gather(1, places_R1).float()
    # One kernel of torch's; exp() alone takes ten times longer where it underflows
    p_RV = logits_RV.softmax(dim=1, dtype=probabilities)
    total_R1 = wanted_R1 - p_RV.gather(1, places_R1).float().clamp(min=SMALLEST).log()
    if smoothing:
        mean_R1 = logits_RV.mean(dim=1, keepdim=True, dtype=torch.float32)
        wanted_R1 = (1 - smoothing) * wanted_R1 + smoothing * mean_R1
    # From here on p holds the loss's gradient to the logits
    if smoothing:
        p_RV.sub_(smoothing / logits_RV.shape[1])
    p_RV.scatter_add_(1, places_R1, torch.full_like(places_R1, smoothing - 1, dtype=p_RV.dtype))
    return (total_R1 - wanted_R1).sum(), p_RV
