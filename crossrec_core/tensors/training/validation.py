"""A model and held-out sequences in, NDCG by full ranking out: what early stopping looks at.

R rows, B batch, L length, T truth items (0-padded), V candidates, N list length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crossrec_core.tensors.inputs.batches import crop, is_candidate
from crossrec_core.tensors.network.encoder import SequenceModel

FEW_USERS = 100  # a domain with so many validation users weighs half of one with very many


@dataclass(frozen=True)
class HeldOut:
    """Held-out users of one domain."""

    columns: Mapping[str, Tensor]  # the sequence columns, int64 [R, L], right padded
    truth_RT: Tensor  # int64, item numbers, 0 = padding
    user_nums_R: Tensor  # int64
    domain_num: int
    exclude_seen: bool
    likes_R2: Tensor | None = None  # int64: num_likes and num_rated; None where the domain is not rated


def mean_ndcg(model: SequenceModel, held_out: HeldOut, nums_V: Tensor, *, n: int = 10, batch_size: int = 512) -> float:
    """Mean NDCG@n over the rows: all candidates ``nums_V`` (ascending) are ranked, those in the sequence left out.

    The gain of a hit at rank r is 1 / log2(1 + r); the ideal list begins with all truth items (Jarvelin and
    Kekalainen 2002).
    """
    device = nums_V.device
    vectors_VD = model.item_vectors(nums_V)
    total = torch.zeros((), dtype=torch.float64)
    # Rows of like length together: most are short, and padding costs as much as events
    by_length_R = (held_out.columns["item_nums"] != 0).sum(dim=1).argsort(stable=True)
    for start in range(0, len(by_length_R), batch_size):
        picked = by_length_R[start : start + batch_size]
        events = [values.to(device) for values in crop(take_held_out(held_out, picked).columns)]
        queries_BD = model.last_query(*events, target_domain=held_out.domain_num)
        scores_BV = queries_BD @ vectors_VD.T
        if held_out.exclude_seen:
            scores_BV = mask_items(scores_BV, nums_V, events[0])
        top_BN = nums_V[scores_BV.topk(min(n, len(nums_V)), dim=1).indices]
        total += ndcg(top_BN, held_out.truth_RT[picked].to(device), n=n).sum().double().cpu()
    return float(total) / max(len(held_out.truth_RT), 1)


def mean_over_domains(ndcg_D: Sequence[float], num_users_D: Sequence[int]) -> float:
    """The domains' mean. Those with many users count alike; one with few counts by its users: its own mean is noise."""
    weights = [num_users / (num_users + FEW_USERS) for num_users in num_users_D]
    return sum(weight * ndcg for weight, ndcg in zip(weights, ndcg_D, strict=True)) / max(sum(weights), 1e-9)


def mask_items(scores_BV: Tensor, nums_V: Tensor, seen_BL: Tensor) -> Tensor:
    """Set the scores of the items seen (numbers, 0 = none) to -inf."""
    places_BL = torch.searchsorted(nums_V, seen_BL.contiguous()).clamp(max=len(nums_V) - 1)
    seen_BV = torch.zeros_like(scores_BV, dtype=torch.int8)
    seen_BV.scatter_reduce_(1, places_BL, is_candidate(seen_BL, nums_V).to(torch.int8), reduce="amax")
    return scores_BV.masked_fill(seen_BV.bool(), -torch.inf)


def ndcg(top_BN: Tensor, truth_BT: Tensor, *, n: int) -> Tensor:
    """NDCG@n of each row, float32 [B]; a row without truth scores 0."""
    hits_BN = (top_BN.unsqueeze(-1) == truth_BT.unsqueeze(1)).any(dim=-1)
    discounts_N = 1 / torch.log2(torch.arange(2, n + 2, device=top_BN.device, dtype=torch.float32))
    gains_B = (hits_BN * discounts_N[: top_BN.shape[1]]).sum(dim=1)
    num_truth_B = (truth_BT != 0).sum(dim=1).clamp(max=n)
    ideal_B = torch.cat((discounts_N.new_zeros(1), discounts_N.cumsum(0)))[num_truth_B]
    return gains_B / ideal_B.clamp(min=1e-9)


def take_held_out(held_out: HeldOut, rows_R: Tensor) -> HeldOut:
    """Some of the held-out users (bool or places)."""
    columns = {name: values[rows_R] for name, values in held_out.columns.items()}
    likes_R2 = None if held_out.likes_R2 is None else held_out.likes_R2[rows_R]
    return replace(
        held_out, columns=columns, truth_RT=held_out.truth_RT[rows_R], user_nums_R=held_out.user_nums_R[rows_R],
        likes_R2=likes_R2,
    )  # fmt: skip
