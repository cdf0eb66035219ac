"""A model, users' sequences and pairs of user and item in, phi(u,c) of each pair out.

R rows (users), P pairs, L length, V candidates, D width, F features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, is_candidate
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import pair_features


def phi_of_pairs(
    model: SequenceModel,
    columns_RL: Mapping[str, Tensor],
    rows_P: Tensor,
    items_P: Tensor,
    *,
    domain_num: int,
    nums_V: Tensor,
    popularity_V: Tensor,
    likes_P2: Tensor | None = None,
    batch_size: int = 512,
) -> Tensor:
    """phi of pair p: the user of row ``rows_P[p]`` and item number ``items_P[p]``; float64 [P, F] on the CPU.

    ``columns_RL`` are the sequence columns, right padded; ``popularity_V`` the shares of the ascending ``nums_V``;
    ``likes_P2`` are those of ``likes.like_features``.
    """
    device = model.items.ids.device
    with torch.no_grad():
        queries = []
        for start in range(0, len(columns_RL["item_nums"]), batch_size):
            picked = slice(start, start + batch_size)
            events = [columns_RL[name][picked].to(device) for name in SEQUENCE_COLUMNS]
            queries.append(model.last_query(*events, target_domain=domain_num).float().cpu())
        vectors_PD = model.item_vectors(items_P.to(device)).float().cpu()
    queries_RD = torch.cat(queries) if queries else vectors_PD[:0]
    length_R = (columns_RL["item_nums"] != 0).sum(dim=1)
    is_cold_R = ~(columns_RL["domain_nums"] == domain_num).any(dim=1)
    return pair_features(
        queries_RD[rows_P], vectors_PD, share_of(items_P, nums_V, popularity_V), length_R[rows_P], is_cold_R[rows_P],
        likes_P2,
    )  # fmt: skip


def share_of(items_P: Tensor, nums_V: Tensor, popularity_V: Tensor) -> Tensor:
    """Popularity share of each item, 0 for one that is no candidate: float32 [P]."""
    places_P = torch.searchsorted(nums_V, items_P.contiguous()).clamp(max=len(nums_V) - 1)
    return popularity_V[places_P] * is_candidate(items_P, nums_V)
