"""Vectors of events in, vectors of the same shape out: the blocks that attend. B batch, L length, Q asked, D, H, E."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec_core.tensors.network.adapters import AdaptedLinear
from crossrec_core.tensors.network.attention import attention, pointwise_attention, rotate
from crossrec_core.tensors.network.context import Context
from crossrec_core.tensors.network.dropout import Dropout
from crossrec_core.tensors.network.relative_bias import RelativeBias


class TransformerBlock(nn.Module):
    """Pre-norm attention and SwiGLU (Shazeer 2020), each added through a sigmoid gate (LiGR, Borisyuk et al. 2025)."""

    def __init__(
        self, *, width: int, heads: int, dropout: float, relative_bias: str, max_len: int, num_domains: int,
        adapter_rank: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = AdaptedLinear(width, width, num_domains=num_domains, rank=adapter_rank)
        self.ffn_in = nn.Linear(width, 4 * width, bias=False)
        self.ffn_out = AdaptedLinear(2 * width, width, num_domains=num_domains, rank=adapter_rank)
        self.attention_gate, self.ffn_gate = nn.Linear(width, width), nn.Linear(width, width)
        self.relative_bias = RelativeBias(relative_bias, heads, max_len)
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor, context: Context) -> Tensor:
        """[B, L, D] -> [B, Q, D]: only the positions that the context asks for come out."""
        mixed_BQD = self._attend(self.attention_norm(x_BLD), context)
        x_BQD = context.take(x_BLD)
        x_BQD = x_BQD + torch.sigmoid(self.attention_gate(x_BQD)) * self.dropout(mixed_BQD)
        left, right = self.ffn_in(self.ffn_norm(x_BQD)).chunk(2, dim=-1)
        changed_BQD = self.ffn_out(F.silu(left) * right, context.domains_BQ)
        return x_BQD + torch.sigmoid(self.ffn_gate(x_BQD)) * self.dropout(changed_BQD)

    def _attend(self, x_BLD: Tensor, context: Context) -> Tensor:
        width = x_BLD.shape[-1]
        qk_BLF, v_BLD = self.qkv(x_BLD).split((2 * width, width), dim=-1)
        q_BHQE, k_BHLE, v_BHLE = _split_heads(qk_BLF, v_BLD, self.heads, context)
        mixed_BHQE = attention(
            q_BHQE, k_BHLE, v_BHLE, allowed=context.allowed, second_order=context.second_order,
            bias=self.relative_bias(x_BLD.shape[1], context.time_buckets_BQL, context.at_B1),
        )  # fmt: skip
        return self.attention_out(mixed_BHQE.transpose(1, 2).flatten(2), context.domains_BQ)


class HstuBlock(nn.Module):
    """Pointwise attention, gated element by element: one block in place of attention and FFN (Zhai et al. 2024).

    [u, v, q, k] = SiLU(norm(x) W), x + dropout(norm(A v) * u) W_out. Positions are rotary here too, so that the order
    counts without a relative bias.
    """

    def __init__(
        self, *, width: int, heads: int, dropout: float, relative_bias: str, max_len: int, num_domains: int,
        adapter_rank: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads = heads
        self.norm, self.mixed_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.uvqk = nn.Linear(width, 4 * width, bias=False)
        self.out = AdaptedLinear(width, width, num_domains=num_domains, rank=adapter_rank)
        self.relative_bias = RelativeBias(relative_bias, heads, max_len)
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor, context: Context) -> Tensor:
        """[B, L, D] -> [B, Q, D]: only the positions that the context asks for come out."""
        width = x_BLD.shape[-1]
        u_BLD, v_BLD, qk_BLF = F.silu(self.uvqk(self.norm(x_BLD))).split((width, width, 2 * width), dim=-1)
        q_BHQE, k_BHLE, v_BHLE = _split_heads(qk_BLF, v_BLD, self.heads, context)
        mixed_BHQE = pointwise_attention(
            q_BHQE, k_BHLE, v_BHLE, allowed=context.allowed,
            bias=self.relative_bias(x_BLD.shape[1], context.time_buckets_BQL, context.at_B1),
        )  # fmt: skip
        mixed_BQD = self.mixed_norm(mixed_BHQE.transpose(1, 2).flatten(2).to(x_BLD.dtype))  # autocast has halved it
        gated_BQD = self.dropout(mixed_BQD * context.take(u_BLD))
        return context.take(x_BLD) + self.out(gated_BQD, context.domains_BQ)


def _split_heads(qk_BLF: Tensor, v_BLD: Tensor, heads: int, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries of the positions that come out [B, H, Q, E], rotated keys and values [B, H, L, E]."""
    q_BLHE, k_BLHE = rotate(qk_BLF.unflatten(-1, (2 * heads, -1))).chunk(2, dim=-2)
    v_BLHE = v_BLD.unflatten(-1, (heads, -1))
    return context.take(q_BLHE).transpose(1, 2), k_BLHE.transpose(1, 2), v_BLHE.transpose(1, 2)
