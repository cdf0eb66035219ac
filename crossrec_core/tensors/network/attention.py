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


def rotate(x_BLHE: Tensor) -> Tensor:
    """Turn each pair of a head's coordinates by an angle that grows with the position (Su et al. 2021, eq. 34).

    All heads of a position are turned as one row: torch's CPU loops over one head's few numbers take five times longer.
    """
    length, heads, width = x_BLHE.shape[-3:]
    half, rest = width // 2, width % 2
    places_L = torch.arange(length, device=x_BLHE.device, dtype=torch.float32)
    speeds_E = ROTARY_BASE ** (-torch.arange(half, device=x_BLHE.device, dtype=torch.float32) / half)
    angles_LE = torch.outer(places_L, speeds_E)
    cos_LE = F.pad(torch.cat((angles_LE.cos(), angles_LE.cos()), dim=1), (0, rest), value=1.0)
    sin_LE = F.pad(torch.cat((-angles_LE.sin(), angles_LE.sin()), dim=1), (0, rest))
    cos_LF, sin_LF = (values_LE.to(x_BLHE.dtype).repeat(1, heads) for values_LE in (cos_LE, sin_LE))
    left, right, last = x_BLHE.split((half, half, rest), dim=-1)
    swapped_BLF = torch.cat((right, left, last), dim=-1).flatten(-2)
    return torch.addcmul(x_BLHE.flatten(-2) * cos_LF, swapped_BLF, sin_LF).unflatten(-1, (heads, width))


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
