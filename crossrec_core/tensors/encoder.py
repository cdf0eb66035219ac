"""Sequences of events in, one vector per position out: a causal transformer ("gpt").

B batch, L length, H heads, E head width, D width, V items. Rows are right padded: events first, zeros at the end.
A position sees itself and what lies before it, so padding, which lies after, can change nothing. Positions are
rotary (Su et al. 2021): only the distance between two events counts, so neither padding nor the cut to the latest
events moves a position, and a longer history than any seen in training needs no new parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec_core.tensors.items import INIT_STD, ItemTable

ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class ModelConfig:
    """What shapes the model. ``num_*`` count from 1; 0 is padding."""

    encoder: str
    num_items: int
    num_domains: int
    num_actions: int
    num_gap_buckets: int
    width: int
    layers: int
    heads: int
    dropout: float
    id_dropout: float
    max_len: int
    text_dimensions: int
    num_attributes: int = 0
    attributes_per_item: int = 0


def attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, *, second_order: bool = False) -> Tensor:
    """Causal scaled dot-product attention: [B, H, L, E] -> [B, H, L, E].

    Torch's fused kernels have no second derivative; ``second_order`` spells the formula out instead.
    """
    if not second_order:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    length = q_BHLE.shape[-2]
    later_LL = torch.ones(length, length, dtype=torch.bool, device=q_BHLE.device).triu(1)
    logits_BHLL = q_BHLE @ k_BHLE.transpose(-1, -2) * q_BHLE.shape[-1] ** -0.5
    return logits_BHLL.masked_fill(later_LL, -torch.inf).softmax(-1) @ v_BHLE


def rotate(x_BHLE: Tensor) -> Tensor:
    """Turn each pair of coordinates by an angle that grows with the position (Su et al. 2021, eq. 34)."""
    length, half = x_BHLE.shape[-2], x_BHLE.shape[-1] // 2
    places_L = torch.arange(length, device=x_BHLE.device, dtype=torch.float32)
    speeds_E = ROTARY_BASE ** (-torch.arange(half, device=x_BHLE.device, dtype=torch.float32) / half)
    angles_LE = torch.outer(places_L, speeds_E)
    cos_LE, sin_LE = angles_LE.cos().to(x_BHLE.dtype), angles_LE.sin().to(x_BHLE.dtype)
    left, right = x_BHLE[..., :half], x_BHLE[..., half : 2 * half]
    return torch.cat((left * cos_LE - right * sin_LE, left * sin_LE + right * cos_LE, x_BHLE[..., 2 * half :]), dim=-1)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU (Shazeer 2020), each added through a sigmoid gate (LiGR, Borisyuk et al. 2025)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.ffn_in = nn.Linear(width, 4 * width, bias=False)
        self.ffn_out = nn.Linear(2 * width, width, bias=False)
        self.attention_gate, self.ffn_gate = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, *, second_order: bool = False) -> Tensor:
        mixed_BLD = self._attend(self.attention_norm(x_BLD), second_order=second_order)
        x_BLD = x_BLD + torch.sigmoid(self.attention_gate(x_BLD)) * self.dropout(mixed_BLD)
        left, right = self.ffn_in(self.ffn_norm(x_BLD)).chunk(2, dim=-1)
        changed_BLD = self.ffn_out(F.silu(left) * right)
        return x_BLD + torch.sigmoid(self.ffn_gate(x_BLD)) * self.dropout(changed_BLD)

    def _attend(self, x_BLD: Tensor, *, second_order: bool) -> Tensor:
        batch, length, width = x_BLD.shape
        split = self.qkv(x_BLD).view(batch, length, 3, self.heads, width // self.heads)
        q_BHLE, k_BHLE, v_BHLE = split.permute(2, 0, 3, 1, 4)
        mixed_BHLE = attention(rotate(q_BHLE), rotate(k_BHLE), v_BHLE, second_order=second_order)
        return self.attention_out(mixed_BHLE.transpose(1, 2).reshape(batch, length, width))


class SequenceModel(nn.Module):
    """Events -> hidden vectors -> query vectors; the score of an item is query . item vector.

    There is no temperature: the gain of the last norm is one.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.items = ItemTable(
            config.num_items, config.width, config.text_dimensions, config.num_attributes, config.attributes_per_item
        )
        self.domains = nn.Embedding(config.num_domains + 1, config.width, padding_idx=0)
        self.actions = nn.Embedding(config.num_actions + 1, config.width, padding_idx=0)
        self.gaps = nn.Embedding(config.num_gap_buckets + 1, config.width, padding_idx=0)
        self.target_domains = nn.Embedding(config.num_domains + 1, config.width, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(config.layers))
        self.last_norm = nn.RMSNorm(config.width)
        self.apply(_init_weights)

    def forward(
        self,
        items_BL: Tensor,
        domains_BL: Tensor,
        actions_BL: Tensor,
        gaps_BL: Tensor,
        *,
        hidden_I: Tensor | None = None,
        sparse: bool = False,
        second_order: bool = False,
    ) -> Tensor:
        """Events -> hidden vectors [B, L, D]; those at padded positions mean nothing.

        ``hidden_I`` and ``sparse`` are as in ``ItemTable``; ``second_order`` as in ``attention``.
        """
        x_BLD = self.items(items_BL, hidden_I, sparse=sparse) + self.domains(domains_BL) + self.actions(actions_BL)
        x_BLD = self.dropout(x_BLD + self.gaps(gaps_BL.clamp(max=self.config.num_gap_buckets)))
        for block in self.blocks:
            x_BLD = block(x_BLD, second_order=second_order)
        return x_BLD

    def query(self, hidden: Tensor, target_domains: Tensor) -> Tensor:
        """Hidden vectors [..., D] and the domain to recommend in [...] -> query vectors [..., D]."""
        return self.last_norm(hidden + self.target_domains(target_domains))

    def item_vectors(self, nums: Tensor, hidden_I: Tensor | None = None, *, sparse: bool = False) -> Tensor:
        """Item numbers [V] -> the vectors [V, D] that queries are multiplied with."""
        vectors: Tensor = self.items(nums, hidden_I, sparse=sparse)
        return vectors

    def last_query(
        self, items_BL: Tensor, domains_BL: Tensor, actions_BL: Tensor, gaps_BL: Tensor, target_domain: int
    ) -> Tensor:
        """The query [B, D] after each row's last event, for one target domain; rows without events look at padding."""
        hidden_BLD = self(items_BL, domains_BL, actions_BL, gaps_BL)
        last_B = ((items_BL != 0).sum(dim=1) - 1).clamp(min=0)
        hidden_BD = hidden_BLD[torch.arange(len(last_B), device=last_B.device), last_B]
        return self.query(hidden_BD, torch.full_like(last_B, target_domain))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
        with torch.no_grad():
            module.weight[0] = 0
