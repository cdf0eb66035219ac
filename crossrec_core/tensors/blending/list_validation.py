"""A block scorer and held-out sequences in, mean NDCG out: what the closed-form models are tuned by.

B batch, L length, V candidates, N list length.
"""

import numpy as np
import torch

from crossrec_core.tensors.inputs.user_batch import Ragged, UserBatch, find_positions
from crossrec_core.tensors.retrieval.block_scores import BlockScorer, DomainCandidates
from crossrec_core.tensors.retrieval.topk import top_n
from crossrec_core.tensors.training.validation import HeldOut, ndcg


def mean_list_ndcg(
    score: BlockScorer, held_out: HeldOut, candidates: DomainCandidates, *, n: int = 10, batch_size: int = 256
) -> float:
    """Mean NDCG@n of the lists that scoring would make: every candidate ranked, ties to the lower position.

    Seen items are those of the sequence; an older history is not masked here. 0.0 without held-out users.
    """
    num_users = len(held_out.truth_RT)
    total = 0.0
    for start in range(0, num_users, batch_size):
        users = to_users(held_out, start, start + batch_size)
        positions = find_positions(candidates.items_V, users.seen[held_out.domain_num])
        top_BN, _ = top_n(
            score(users).block, num_candidates=len(candidates.items_V), n=n, seen_rows=positions.rows_S,
            seen_positions=positions.values_S,
        )  # fmt: skip
        items_BN = torch.where(top_BN >= 0, candidates.items_V[top_BN.clamp_min(0)], -1)
        total += float(ndcg(items_BN, held_out.truth_RT[start : start + batch_size], n=n).double().sum())
    return total / max(num_users, 1)


def to_users(held_out: HeldOut, start: int, stop: int) -> UserBatch:
    """Rows start..stop as a batch; ``seen`` of the domain holds what their lists must not."""
    columns = {name: values[start:stop] for name, values in held_out.columns.items()}
    items_BL = columns["item_nums"]
    rows_S, places_S = torch.nonzero(items_BL, as_tuple=True)
    seen = Ragged(rows_S, items_BL[rows_S, places_S])
    if not held_out.exclude_seen:
        seen = Ragged(rows_S[:0], rows_S[:0])
    return UserBatch(
        user_ids_B=np.array([""] * len(items_BL), dtype=object), items_BL=items_BL, domains_BL=columns["domain_nums"],
        actions_BL=columns["action_nums"], gaps_BL=columns["gap_buckets"], orders_BL=columns["event_orders"],
        seen={held_out.domain_num: seen}, wanted_B={},
        likes_B2={} if held_out.likes_R2 is None else {held_out.domain_num: held_out.likes_R2[start:stop]},
    )  # fmt: skip
