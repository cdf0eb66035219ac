"""Vectors and the domain of each in, a linear map with a low-rank correction of the domain's own out.

B batch, L length, D width in, O width out, N domains, R rank.
"""

import torch
from torch import Tensor, nn


class AdaptedLinear(nn.Module):
    """x W + x A_d B_d, with A_d [D, R] and B_d [R, O] of domain d; no bias (LoRA, Hu et al. 2022; ABXI, 2025).

    B starts at zero: a fresh adapter changes nothing. All parameters of adapters have "adapters" in their names, so
    that a transfer can train them alone.
    """

    def __init__(self, width_in: int, width_out: int, *, num_domains: int, rank: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out, bias=False)
        self.rank = rank
        self.adapters_down = nn.Linear(width_in, num_domains * rank, bias=False) if rank else None
        self.adapters_up = nn.Linear(num_domains * rank, width_out, bias=False) if rank else None

    def forward(self, x_BLD: Tensor, domains_BL: Tensor) -> Tensor:
        """[B, L, D] and domain numbers from 1 (0 = no adapter) -> [B, L, O]."""
        out_BLO: Tensor = self.linear(x_BLD)
        if self.adapters_down is None or self.adapters_up is None:
            return out_BLO
        # All domains' narrow vectors at once, the others' set to zero: no matrix is gathered per position
        narrow_BLNR = self.adapters_down(x_BLD).unflatten(-1, (-1, self.rank))
        numbers_N = torch.arange(1, narrow_BLNR.shape[-2] + 1, device=domains_BL.device)
        is_own_BLN1 = (domains_BL.unsqueeze(-1) == numbers_N).unsqueeze(-1)
        return out_BLO + self.adapters_up((narrow_BLNR * is_own_BLN1).flatten(-2))

    def zero_adapters(self) -> None:
        """Make the adapters of all domains change nothing."""
        if self.adapters_up is not None:
            nn.init.zeros_(self.adapters_up.weight)
