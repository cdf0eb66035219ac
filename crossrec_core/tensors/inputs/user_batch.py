"""A pandas batch of the user frame in, tensors out: a list column becomes arrays at once, with no loop over rows.

B users, L length, S pairs of a row and a value (a ragged column, flattened).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossrec_core import columns as c

if TYPE_CHECKING:  # one user's list is scored without pandas: seconds of start-up
    import pandas as pd


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths, flattened: value s belongs to row ``rows_S[s]``; rows ascend."""

    rows_S: Tensor  # int64
    values_S: Tensor  # int64


@dataclass(frozen=True)
class UserBatch:
    """Users to score: their sequence (oldest first, 0 = padding at the end) and what to mask, by domain number."""

    user_ids_B: npt.NDArray[np.object_]
    items_BL: Tensor  # int64
    domains_BL: Tensor  # int64
    actions_BL: Tensor  # int64
    gaps_BL: Tensor  # int64
    orders_BL: Tensor  # int64
    seen: Mapping[int, Ragged]  # item numbers
    wanted_B: Mapping[int, Tensor]  # bool: make a list for this domain
    # int64: the user's segment in the domain, a place in columns.USER_SEGMENTS; for models that serve some segments
    segment_B: Mapping[int, Tensor] = field(default_factory=dict)
    likes_B2: Mapping[int, Tensor] = field(default_factory=dict)  # int64: num_likes and num_rated, in rated domains


def to_user_batch(users: "pd.DataFrame", domain_nums: Sequence[int]) -> UserBatch:
    """Read the columns of the user frame that scoring needs; ``seen_D`` may be null or absent, ``wanted_D`` too.

    ``segment_code_D`` may be absent where every model scores everyone, ``num_likes_D`` and ``num_rated_D`` in domains
    that are not rated.

    Raises:
        ValueError: the sequence columns have rows of different lengths.
    """
    return UserBatch(
        user_ids_B=users[c.USER_ID].to_numpy(),
        items_BL=_to_matrix(users[c.ITEM_NUMS]),
        domains_BL=_to_matrix(users[c.DOMAIN_NUMS]),
        actions_BL=_to_matrix(users[c.ACTION_NUMS]),
        gaps_BL=_to_matrix(users[c.GAP_BUCKETS]),
        orders_BL=_to_matrix(users[c.EVENT_ORDERS]),
        seen={d: to_ragged(users[name]) for d, name in _present(users, c.SEEN, domain_nums)},
        wanted_B={d: _to_flags(users[name]) for d, name in _present(users, c.WANTED, domain_nums)},
        segment_B={
            d: torch.from_numpy(users[name].to_numpy(dtype=np.int64))
            for d, name in _present(users, c.SEGMENT_CODE, domain_nums)
        },
        likes_B2={d: _to_counts(users, d) for d, _ in _present(users, c.NUM_RATED, domain_nums)},
    )


def to_ragged(lists: "pd.Series[Any]") -> Ragged:
    """A column of lists of whole numbers; null counts as empty."""
    present = np.flatnonzero(lists.notna().to_numpy())
    values = lists.to_numpy()[present]
    lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    return Ragged(torch.from_numpy(np.repeat(present, lengths)), torch.from_numpy(_concatenate(values)))


def take_rows(users: UserBatch, rows: Tensor, domain_num: int) -> UserBatch:
    """Some users of a batch (int64 rows, ascending), with what one domain needs."""
    new_row_B = torch.full((len(users.user_ids_B),), -1)
    new_row_B[rows] = torch.arange(len(rows))
    seen = users.seen.get(domain_num, Ragged(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)))
    is_taken_S = new_row_B[seen.rows_S] >= 0
    return UserBatch(
        user_ids_B=users.user_ids_B[rows.numpy()],
        items_BL=users.items_BL[rows],
        domains_BL=users.domains_BL[rows],
        actions_BL=users.actions_BL[rows],
        gaps_BL=users.gaps_BL[rows],
        orders_BL=users.orders_BL[rows],
        seen={domain_num: Ragged(new_row_B[seen.rows_S[is_taken_S]], seen.values_S[is_taken_S])},
        wanted_B={},
        likes_B2={domain_num: users.likes_B2[domain_num][rows]} if domain_num in users.likes_B2 else {},
    )


def find_positions(items_V: Tensor, ragged: Ragged) -> Ragged:
    """Replace item numbers by their positions among the candidates (ascending); items that are none are left out."""
    if not len(items_V):
        return Ragged(ragged.rows_S[:0], ragged.values_S[:0])
    positions_S = torch.searchsorted(items_V, ragged.values_S.contiguous()).clamp_max(len(items_V) - 1)
    is_candidate_S = items_V[positions_S] == ragged.values_S
    return Ragged(ragged.rows_S[is_candidate_S], positions_S[is_candidate_S])


def _to_matrix(lists: "pd.Series[Any]") -> Tensor:
    values = lists.to_numpy()
    if not len(values):
        return torch.zeros(0, 1, dtype=torch.int64)
    flat = _concatenate(values)
    if len(flat) != len(values) * len(values[0]):
        raise ValueError(f"{lists.name}: lists of different lengths; expected every user's padded to the same length")
    return torch.from_numpy(flat.reshape(len(values), -1))


def _to_counts(users: "pd.DataFrame", domain_num: int) -> Tensor:
    names = [c.of_domain(name, domain_num) for name in c.LIKE_COUNTS]
    return torch.from_numpy(users[names].to_numpy(dtype=np.int64))


def _to_flags(flags: "pd.Series[Any]") -> Tensor:
    return torch.from_numpy(flags.eq(True).to_numpy(dtype=bool))  # null is not wanted


def _present(users: "pd.DataFrame", name: str, domain_nums: Sequence[int]) -> list[tuple[int, str]]:
    return [(d, c.of_domain(name, d)) for d in domain_nums if c.of_domain(name, d) in users]


def _concatenate(values: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype=np.int64), *values]).astype(np.int64, copy=False)
