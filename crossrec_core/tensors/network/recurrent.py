"""Vectors of events in, vectors of the same shape out: the blocks that carry a state. B batch, L length, D width."""

import torch
from torch import Tensor, nn

from crossrec_core.tensors.network.adapters import AdaptedLinear
from crossrec_core.tensors.network.context import Context
from crossrec_core.tensors.network.dropout import Dropout


class RecurrentBlock(nn.Module):
    """A layer of LSTM or GRU cells and a linear map (GRU4Rec, Hidasi et al. 2016; trained with the full softmax here).

    Padding lies after the events: it is read last and changes no state that is used.
    """

    def __init__(self, cell: str, *, width: int, dropout: float, num_domains: int, adapter_rank: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.cells = (nn.LSTM if cell == "lstm" else nn.GRU)(width, width, batch_first=True)
        self.dropout = Dropout(dropout)
        self.out = AdaptedLinear(width, width, num_domains=num_domains, rank=adapter_rank)

    def forward(self, x_BLD: Tensor, context: Context) -> Tensor:
        hidden_BLD = self._run(self.norm(x_BLD), context.second_order)
        mapped_BQD: Tensor = self.out(self.dropout(context.take(hidden_BLD)), context.domains_BQ)
        return mapped_BQD.to(x_BLD.dtype)  # autocast has halved it

    def _run(self, x_BLD: Tensor, second_order: bool) -> Tensor:
        if not second_order:
            return self.cells(x_BLD)[0]
        with torch.backends.cudnn.flags(enabled=False):  # its kernels have no second derivative
            return self.cells(x_BLD)[0]
