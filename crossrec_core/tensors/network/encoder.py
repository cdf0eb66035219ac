"""Sequences of events in, one vector per position out: embeddings, a stack of blocks, queries.

B batch, L length, D width, V items. Rows are right padded: events first, zeros at the end.

    gpt, hstu   a position sees itself and what lies before it; padding lies after and can change nothing
    lstm, gru   likewise, through a state
    bert        every event sees every event of its row; what is wanted stands as a masked event at the end

Positions are rotary (Su et al. 2021): only the distance between two events counts, so neither padding nor the cut to
the latest events moves a position, and a longer history than any seen in training needs no new parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec_core.errors import ConfigError
from crossrec_core.tensors.inputs.batches import shift_left
from crossrec_core.tensors.inputs.masking import MASK_ITEM, append_mask
from crossrec_core.tensors.network.adapters import AdaptedLinear
from crossrec_core.tensors.network.blocks import HstuBlock, TransformerBlock
from crossrec_core.tensors.network.context import Context, take_positions
from crossrec_core.tensors.network.dropout import Dropout
from crossrec_core.tensors.network.items import INIT_STD, ItemTable
from crossrec_core.tensors.network.recurrent import RecurrentBlock
from crossrec_core.tensors.network.relative_bias import time_buckets, uses_time

BERT, RECURRENT = "bert", ("lstm", "gru")
# A quarter of an item vector's mean square at the start: the gradient of a vector of zeros is about twice as large
SMALL = INIT_STD**2 / 4


@dataclass(frozen=True)
class ModelConfig:
    """What shapes the model. ``num_*`` count from 1; 0 is padding."""

    encoder: str  # gpt, bert, lstm, gru or hstu
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
    relative_bias: str  # one of relative_bias.KINDS
    adapter_rank: int  # 0 = no adapters
    mask_share: float  # of the events that bert hides in training
    mask_last_share: float  # of the rows in which it hides the last one alone
    num_attributes: int = 0
    attributes_per_item: int = 0
    normalise_inputs: bool = False  # models written before there was a choice do not


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
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_make_block(config) for _ in range(config.layers))
        self.last_norm = nn.RMSNorm(config.width)
        self.mask_D = nn.Parameter(torch.empty(config.width).normal_(std=INIT_STD)) if config.encoder == BERT else None
        self.apply(_init_weights)

    def forward(
        self,
        items_BL: Tensor,
        domains_BL: Tensor,
        actions_BL: Tensor,
        gaps_BL: Tensor,
        orders_BL: Tensor,
        *,
        wanted_domains_BL: Tensor | None = None,
        hidden_I: Tensor | None = None,
        sparse: bool = False,
        second_order: bool = False,
        at_B1: Tensor | None = None,
    ) -> Tensor:
        """Events -> hidden vectors [B, L, D]; those at padded positions mean nothing.

        With ``at_B1`` only each row's position of that number comes out, [B, 1, D]: the last block computes no other.

        ``wanted_domains_BL`` (0 = not said) names the domain in which a position is asked for an item: it chooses the
        adapters. Where it is not said, that is the domain of the next event, which the query names in training; to
        ``bert``, of the event itself. ``hidden_I`` and ``sparse`` are as in ``ItemTable``; ``second_order`` as in
        ``attention``.
        """
        x_BLD = self.items(items_BL.clamp(min=0), hidden_I, sparse=sparse)
        if self.mask_D is not None:
            x_BLD = x_BLD + self.mask_D * (items_BL == MASK_ITEM).unsqueeze(-1)
        if self.config.normalise_inputs:
            # Item vectors start small, for the sake of the logits; what the blocks add would drown which item it was
            x_BLD = F.rms_norm(x_BLD, x_BLD.shape[-1:], eps=SMALL)
        x_BLD = x_BLD + self.domains(domains_BL) + self.actions(actions_BL)
        x_BLD = x_BLD + self.gaps(gaps_BL.clamp(max=self.config.num_gap_buckets))
        x_BLD = self.dropout(x_BLD)
        known = (items_BL, domains_BL, orders_BL, wanted_domains_BL, second_order)
        asked = self._context(*known, at_B1)
        context = asked if at_B1 is None or len(self.blocks) == 1 else self._context(*known)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD, context)
        hidden: Tensor = self.blocks[-1](x_BLD, asked)
        return hidden

    def query(self, hidden: Tensor, target_domains: Tensor) -> Tensor:
        """Hidden vectors [..., D] and the domain to recommend in [...] -> query vectors [..., D]."""
        return self.last_norm(hidden + self.target_domains(target_domains))

    def item_vectors(self, nums: Tensor, hidden_I: Tensor | None = None, *, sparse: bool = False) -> Tensor:
        """Item numbers [V] -> the vectors [V, D] that queries are multiplied with."""
        vectors: Tensor = self.items(nums, hidden_I, sparse=sparse)
        return vectors

    def last_query(
        self,
        items_BL: Tensor,
        domains_BL: Tensor,
        actions_BL: Tensor,
        gaps_BL: Tensor,
        orders_BL: Tensor,
        *,
        target_domain: int,
    ) -> Tensor:
        """The query [B, D] after each row's last event, for one target domain; rows without events look at padding."""
        events = [items_BL, domains_BL, actions_BL, gaps_BL, orders_BL]
        if self.mask_D is not None:
            events = append_mask(events)
        last_B1 = ((events[0] != 0).sum(dim=1, keepdim=True) - 1).clamp(min=0)
        wanted_domains_BL = torch.zeros_like(events[1]).scatter(1, last_B1, target_domain)
        hidden_BD = self(*events, wanted_domains_BL=wanted_domains_BL, at_B1=last_B1).squeeze(1)
        return self.query(hidden_BD, torch.full_like(last_B1.squeeze(1), target_domain))

    def _context(
        self, items_BL: Tensor, domains_BL: Tensor, orders_BL: Tensor, wanted_BL: Tensor | None, second_order: bool,
        at_B1: Tensor | None = None,
    ) -> Context:  # fmt: skip
        is_bert = self.config.encoder == BERT
        default_BL = domains_BL if is_bert else shift_left(domains_BL)
        chosen_BL = default_BL if wanted_BL is None else torch.where(wanted_BL == 0, default_BL, wanted_BL)
        buckets_BQL = time_buckets(orders_BL, at_B1) if uses_time(self.config.relative_bias) else None
        allowed = _both_ways(items_BL) if is_bert else None
        if at_B1 is None:
            return Context(chosen_BL, allowed, buckets_BQL, second_order)
        if allowed is None:
            allowed = (torch.arange(items_BL.shape[1], device=at_B1.device) <= at_B1)[:, None, None]
        else:
            allowed = take_positions(allowed.transpose(1, 2), at_B1).transpose(1, 2)
        return Context(chosen_BL.gather(1, at_B1), allowed, buckets_BQL, second_order, at_B1)


def _make_block(config: ModelConfig) -> nn.Module:
    if config.encoder in RECURRENT:
        if config.relative_bias != "none":
            raise ConfigError(
                f"model.relative_bias: {config.relative_bias} with model.encoder = {config.encoder}, which has no "
                'attention; set relative_bias = "none", or encoder = "gpt", "bert" or "hstu"'
            )
        return RecurrentBlock(
            config.encoder, width=config.width, dropout=config.dropout, num_domains=config.num_domains,
            adapter_rank=config.adapter_rank,
        )  # fmt: skip
    return {"gpt": TransformerBlock, BERT: TransformerBlock, "hstu": HstuBlock}[config.encoder](
        width=config.width, heads=config.heads, dropout=config.dropout, relative_bias=config.relative_bias,
        max_len=config.max_len, num_domains=config.num_domains, adapter_rank=config.adapter_rank,
    )  # fmt: skip


def _both_ways(items_BL: Tensor) -> Tensor:
    """bool [B, 1, L, L]: every event of the row, and itself, so that padding sees something."""
    is_event_B1L = (items_BL != 0).unsqueeze(1)
    is_self_LL = torch.eye(items_BL.shape[1], dtype=torch.bool, device=items_BL.device)
    return (is_event_B1L | is_self_LL).unsqueeze(1)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
        with torch.no_grad():
            module.weight[0] = 0
    elif isinstance(module, nn.RNNBase):
        for name, values in module.named_parameters():
            nn.init.zeros_(values) if "bias" in name else nn.init.xavier_uniform_(values)
    elif isinstance(module, AdaptedLinear):  # after the linear maps inside it
        module.zero_adapters()
