"""Queries, target vectors and other candidates in, a loss out. P positions, V candidates, K negatives, D width.

``temperature`` divides the logits. ``smoothing`` gives that share of the target's probability to all candidates alike
(Szegedy et al. 2016).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec_core.tensors.training.fused_sampled import sampled_cross_entropy
from crossrec_core.tensors.training.fused_softmax import linear_cross_entropy


def full_softmax(
    queries_PD: Tensor, vectors_VD: Tensor, places_P: Tensor, *, temperature: float = 1.0, smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the target against all candidates; ``places_P`` are the targets' positions among them."""
    # The queries are divided, not the logits: V / D times fewer numbers
    return linear_cross_entropy(queries_PD / temperature, vectors_VD, places_P, smoothing=smoothing)


def sampled_softmax(
    queries_PD: Tensor, targets_PD: Tensor, negatives_KD: Tensor, target_nums_P: Tensor, negative_nums_K: Tensor,
    *, log_expected_K: Tensor | None = None, temperature: float = 1.0, smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Mean cross-entropy of the target against K negatives that all positions share.

    A negative that is the position's own target is masked out. Without ``log_expected_K`` the negatives count as they
    are: drawn uniformly, the loss is that of Klenitskiy et al. 2023 ("Turning Dross into Gold Loss"), and equals the
    full softmax when the negatives are all candidates. With it, the logarithm of how often each negative was expected
    among the K (log Q, Bengio & Senecal 2008), their sum of exponentials is without bias that of all candidates but
    the target, however they were drawn; the target is there for sure and is not corrected. Smoothing spreads over the
    target and the negatives that are not masked.
    """
    return sampled_cross_entropy(
        queries_PD / temperature, targets_PD, negatives_KD, target_nums_P, negative_nums_K, log_expected_K,
        smoothing=smoothing,
    )  # fmt: skip


def mix_domains(losses: Mapping[int, Tensor], counts: Mapping[int, int], *, temperature: float) -> Tensor:
    """Weighted mean of per-domain mean losses, with weight n_d^temperature, n_d the positions in this batch.

    1 counts every event alike; 0 every domain alike.
    """
    assert losses, "no domain has a target in this batch"
    weights = {domain: counts[domain] ** temperature for domain in losses}
    total = sum(weights.values())
    return torch.stack([losses[domain] * (weights[domain] / total) for domain in losses]).sum()


def text_reconstruction(guesses_PK: Tensor, text_PK: Tensor) -> Tensor:
    """Mean of 1 - cosine of each item's text vector and its guess from the item vector: the decoder's loss."""
    return (1 - F.cosine_similarity(guesses_PK, text_PK, dim=-1)).mean()


def text_alignment(ids_PD: Tensor, texts_PD: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE both ways (van den Oord et al. 2018): an item's id part finds its own text part among P, and back."""
    logits_PP = F.normalize(ids_PD, dim=-1) @ F.normalize(texts_PD, dim=-1).T / temperature
    own_P = torch.arange(len(logits_PP), device=logits_PP.device)
    return (F.cross_entropy(logits_PP, own_P) + F.cross_entropy(logits_PP.T, own_P)) / 2
