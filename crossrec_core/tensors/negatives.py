"""A domain's candidates in, sampled negatives out. Randomness is an argument."""

import torch
from torch import Generator, Tensor


def draw_negatives(candidates_V: Tensor, num_negatives: int, generator: Generator) -> Tensor:
    """Draw K = ``num_negatives`` candidates uniformly, with replacement: item numbers int64 [K].

    Uniform, because popularity draws cost full-ranking quality where they are not corrected (Klenitskiy et al. 2023
    train on uniform ones). The generator lives where the candidates do.
    """
    places_K = torch.randint(len(candidates_V), (num_negatives,), generator=generator, device=generator.device)
    return candidates_V[places_K]
