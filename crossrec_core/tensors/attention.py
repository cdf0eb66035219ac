"""Queries, keys and values in, mixed values out: softmax attention, HSTU's pointwise attention, rotary positions.

B batch, L length, Q queries, H heads, E head width. ``allowed`` is bool and broadcasts to [B, H, Q, L]: which keys a
query sees; None, for Q = L, stands for itself and what lies before it. A query always sees some key.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec_core.tensors.devices import no_autocast

ROTARY_BASE = 10_000.0


def attention(
    q_BHQE: Tensor,
    k_BHLE: Tensor,
    v_BHLE: Tensor,
    *,
    allowed: Tensor | None = None,
    bias: Tensor | None = None,
    second_order: bool = False,
) -> Tensor:
    """Scaled dot-product attention: queries [B, H, Q, E] -> [B, H, Q, E].

    ``bias`` broadcasts to [B, H, Q, L] and is added to the logits. Without bias torch's fused kernels run; they have
    no second derivative, so ``second_order`` spells the formula out instead.
    """
    if second_order:
        allowed = _not_later(q_BHQE) if allowed is None else allowed
        logits_BHQL = _logits(q_BHQE, k_BHLE, bias)
        return logits_BHQL.masked_fill(~allowed, -torch.inf).softmax(-1) @ v_BHLE
    if q_BHQE.device.type != "cpu" or q_BHQE.dtype != torch.bfloat16:
        return _fused_attention(q_BHQE, k_BHLE, v_BHLE, allowed, bias)
    # On CPUs the kernel goes backward through bfloat16 five to ten times slower than through float32 (decision 013)
    with no_autocast(q_BHQE.device):
        mixed_BHQE = _fused_attention(q_BHQE.float(), k_BHLE.float(), v_BHLE.float(), allowed, bias)
    return mixed_BHQE.to(q_BHQE.dtype)


def pointwise_attention(
    q_BHQE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, *, allowed: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """SiLU in place of the softmax: weights do not compete, so that how often a thing occurs is not averaged away.

    Zhai et al. 2024 ("Actions Speak Louder than Words", eq. 2). The sum is not divided by the number of keys, which
    padding would change; the norm that follows takes out the scale. All derivatives exist.
    """
    allowed = _not_later(q_BHQE) if allowed is None else allowed
    weights_BHQL = F.silu(_logits(q_BHQE, k_BHLE, bias)).masked_fill(~allowed, 0.0)
    return weights_BHQL @ v_BHLE


def rotate(x_BHLE: Tensor) -> Tensor:
    """Turn each pair of coordinates by an angle that grows with the position (Su et al. 2021, eq. 34)."""
    length, half = x_BHLE.shape[-2], x_BHLE.shape[-1] // 2
    places_L = torch.arange(length, device=x_BHLE.device, dtype=torch.float32)
    speeds_E = ROTARY_BASE ** (-torch.arange(half, device=x_BHLE.device, dtype=torch.float32) / half)
    angles_LE = torch.outer(places_L, speeds_E)
    cos_LE, sin_LE = angles_LE.cos().to(x_BHLE.dtype), angles_LE.sin().to(x_BHLE.dtype)
    left, right = x_BHLE[..., :half], x_BHLE[..., half : 2 * half]
    return torch.cat((left * cos_LE - right * sin_LE, left * sin_LE + right * cos_LE, x_BHLE[..., 2 * half :]), dim=-1)


def _fused_attention(
    q_BHQE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, allowed: Tensor | None, bias: Tensor | None
) -> Tensor:
    if allowed is None and bias is None:
        return F.scaled_dot_product_attention(q_BHQE, k_BHLE, v_BHLE, is_causal=True)
    allowed = _not_later(q_BHQE) if allowed is None else allowed
    mask = allowed if bias is None else bias.to(q_BHQE.dtype).masked_fill(~allowed, -torch.inf)
    return F.scaled_dot_product_attention(q_BHQE, k_BHLE, v_BHLE, attn_mask=mask)


def _logits(q_BHQE: Tensor, k_BHLE: Tensor, bias: Tensor | None) -> Tensor:
    logits_BHQL = q_BHQE @ k_BHLE.transpose(-1, -2) * q_BHQE.shape[-1] ** -0.5
    return logits_BHQL if bias is None else logits_BHQL + bias


def _not_later(q_BHQE: Tensor) -> Tensor:
    length = q_BHQE.shape[-2]
    return torch.ones(length, length, dtype=torch.bool, device=q_BHQE.device).tril()
