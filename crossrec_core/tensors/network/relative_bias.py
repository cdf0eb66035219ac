"""How far two events lie apart, in time and in places, in; what is added to their attention logit out.

B batch, L length, Q queries, H heads, T time buckets, P distances.

Times are those of the events themselves. HSTU's published code instead takes the time of the *next* event at each
query, so that its test query knows when the target happened; a nightly list is made before that is known, and training
on it would promise what scoring cannot keep. With own times a position reads the same in training and in scoring.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("none", "position", "time", "time_and_position")
NUM_TIME_BUCKETS = 32  # the last one begins at 2^31 seconds, 68 years
SECOND_US = 1_000_000


def uses_time(kind: str) -> bool:
    """Whether a bias of this kind reads times."""
    return kind in ("time", "time_and_position")


def time_buckets(orders_BL: Tensor, at_B1: Tensor | None = None) -> Tensor:
    """Event orders (unix microseconds) -> floor(log2(1 + seconds between query and key)): int32 [B, Q, L].

    The queries are all positions, or the one that ``at_B1`` names.

    Exact below 2^24 seconds, half a year; beyond, seconds are rounded to float32. Positions of order-only logs count as
    microseconds, so that events less than a million apart share bucket 0: the time says nothing there, and a bias that
    is the same for all keys changes no softmax.
    """
    seconds_BL = orders_BL // SECOND_US
    # From here on int32 is enough and takes half the memory: only differences count
    seconds_BL = (seconds_BL - seconds_BL.amax(dim=1, keepdim=True)).clamp(min=-(2**31) + 1).to(torch.int32)
    asked_BQ = seconds_BL if at_B1 is None else seconds_BL.gather(1, at_B1)
    apart_BQL = (asked_BQ.unsqueeze(2) - seconds_BL.unsqueeze(1)).abs()
    # The exponent of a float is its number of binary digits, exactly; a logarithm may round differently per batch
    return torch.frexp(1.0 + apart_BQL).exponent.clamp(max=NUM_TIME_BUCKETS) - 1


class RelativeBias(nn.Module):
    """Learned scalars per head: one for each bucket of time, one for each distance (Zhai et al. 2024).

    They start at zero: a fresh model is one without bias. Distances of ``max_len`` and more share the last one.
    """

    def __init__(self, kind: str, heads: int, max_len: int) -> None:
        super().__init__()
        has_place = kind in ("position", "time_and_position")
        self.time_TH = nn.Parameter(torch.zeros(NUM_TIME_BUCKETS, heads)) if uses_time(kind) else None
        self.place_PH = nn.Parameter(torch.zeros(2 * max_len + 1, heads)) if has_place else None

    def forward(self, length: int, time_buckets_BQL: Tensor | None, at_B1: Tensor | None = None) -> Tensor | None:
        """The bias, [B, H, Q, L] or [1, H, L, L]; None for kind none. ``at_B1`` is as in ``time_buckets``."""
        bias = None
        if self.place_PH is not None:
            most = len(self.place_PH) // 2
            places_L = torch.arange(length, device=self.place_PH.device)
            asked_BQ = places_L.unsqueeze(0) if at_B1 is None else at_B1
            apart_BQL = (asked_BQ.unsqueeze(2) - places_L).clamp(-most, most) + most
            bias = F.embedding(apart_BQL, self.place_PH).permute(0, 3, 1, 2)
        if self.time_TH is not None:
            assert time_buckets_BQL is not None, "a bias by time needs time buckets"
            by_time = F.embedding(time_buckets_BQL, self.time_TH).permute(0, 3, 1, 2)
            bias = by_time if bias is None else bias + by_time
        return bias
