"""A domain's candidates in, sampled negatives out. Randomness is an argument. V candidates, K negatives."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Draw:
    """How likely each candidate of a domain is to be drawn, for a loss that corrects for it."""

    ends_V: Tensor  # float64, running sum of the shares; the last is 1
    log_shares_V: Tensor  # float32

    def log_expected(self, places_K: Tensor) -> Tensor:
        """The logarithm of how often each of K drawn candidates is expected among them, float32 [K]."""
        return self.log_shares_V[places_K] + math.log(len(places_K))


def draw_by_events(events_V: Tensor, *, power: float) -> Draw:
    """Draw by a candidate's share of the events (above 0) to ``power``: 1 by popularity, 0 all alike."""
    weights_V = events_V.double() ** power
    shares_V = weights_V / weights_V.sum()
    ends_V = shares_V.cumsum(dim=0)
    return Draw(ends_V / ends_V[-1], shares_V.log().float())


def draw_negatives(candidates_V: Tensor, num_negatives: int, generator: Generator) -> Tensor:
    """Draw K = ``num_negatives`` candidates uniformly, with replacement: item numbers int64 [K].

    Uniform, because popularity draws cost full-ranking quality where they are not corrected (Klenitskiy et al. 2023
    train on uniform ones). The generator lives where the candidates do.
    """
    places_K = torch.randint(len(candidates_V), (num_negatives,), generator=generator, device=generator.device)
    return candidates_V[places_K]


def draw_places(draw: Draw, num_negatives: int, generator: Generator) -> Tensor:
    """Draw K = ``num_negatives`` candidates by their shares, with replacement: places among them, int64 [K]."""
    where_K = torch.rand(num_negatives, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.searchsorted(draw.ends_V, where_K, right=True).clamp(max=len(draw.ends_V) - 1)
