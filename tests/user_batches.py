"""Histories as lists of (item, domain) in, batches of users out."""

from collections.abc import Sequence

import numpy as np
import torch

from crossrec_core.tensors.inputs.user_batch import Ragged, UserBatch


def batch_of(
    histories: Sequence[Sequence[tuple[int, int]]], *, max_len: int, seen: dict[int, list[list[int]]] | None = None
) -> UserBatch:
    """Users with these events, oldest first; ``seen`` lists the items to mask by domain number and user."""
    padded = [[*history, *[(0, 0)] * (max_len - len(history))] for history in histories]
    events_BL2 = torch.tensor(padded).view(len(histories), max_len, 2)
    items_BL, domains_BL = events_BL2.unbind(dim=2)
    ones_BL = (items_BL != 0).long()
    masks = {
        domain: Ragged(
            torch.tensor([row for row, items in enumerate(rows) for _ in items], dtype=torch.int64),
            torch.tensor([item for items in rows for item in items], dtype=torch.int64),
        )
        for domain, rows in (seen or {}).items()
    }
    names = np.array([f"u{row}" for row in range(len(histories))], dtype=object)
    return UserBatch(names, items_BL, domains_BL, ones_BL, ones_BL, ones_BL, seen=masks, wanted_B={})
