"""Users with labelled items in, each item's rank among sampled unseen candidates out: papers' "1 + 999" protocols.

Never a metric of a night: a rank among a sample says little about a rank in the catalogue (Krichene and Rendle 2020).
Benchmarks use it to stand beside published tables that were made so.

B users, V candidates, S labelled items, K sampled candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.user_batch import (
    Ragged,
    UserBatch,
    find_positions,
    take_rows,
    to_ragged,
    to_user_batch,
)
from crossrec_core.tensors.scoring.ranked_lists import LoadedModel
from crossrec_core.tensors.scoring.scorer import LoadModels, load_models

if TYPE_CHECKING:
    import pandas as pd

USERS_AT_ONCE = 128  # bounds the [B, V] scores and hashes
# Multipliers of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers: int64 products wrap around
_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
_FEWER_BITS = (1 << 63) - 1


@dataclass(frozen=True)
class LoadSampledRanks:
    """Makes a function from the user frame with pairs to ranks; picklable, loads once per Python worker."""

    load: LoadModels
    num_negatives: int
    seed: int

    def __call__(self) -> "Callable[[pd.DataFrame], pd.DataFrame]":
        """As ``scorer.LoadScorer``: user frame with pairs -> rows of ``sampled_ranks``."""
        models = load_models(self.load)
        return lambda users: sampled_ranks(users, models, num_negatives=self.num_negatives, seed=self.seed)


def sampled_ranks(
    users: "pd.DataFrame", models: Sequence[LoadedModel], *, num_negatives: int, seed: int
) -> "pd.DataFrame":
    """The rank of every item of ``pair_item_nums_D`` among ``num_negatives`` candidates the user has not.

    The sample is the same for every model: the candidates with the lowest hash of (user, item, seed), but for those of
    ``seen_D`` and of ``pair_item_nums_D``. Ties in score go to the lower item number, as in lists. An item that is no
    candidate has no row.

    Returns:
        Columns user_id, model_index, domain_num, item_num and rank, from 1 to at most ``num_negatives`` + 1.
    """
    import pandas as pd

    batch = to_user_batch(users, sorted({model.candidates.domain_num for model in models}))
    user_nums_B = torch.from_numpy(users[c.USER_NUM].to_numpy(dtype=np.int64))
    kinds: dict[str, type] = {c.USER_ID: object}
    kinds |= dict.fromkeys((c.MODEL_INDEX, c.DOMAIN_NUM, c.ITEM_NUM, c.RANK), np.int64)
    parts = [pd.DataFrame({name: np.empty(0, dtype=kind) for name, kind in kinds.items()})]
    of_domain: dict[int, list[LoadedModel]] = {}
    for model in models:
        of_domain.setdefault(model.candidates.domain_num, []).append(model)
    for domain, own in of_domain.items():
        items_V = own[0].candidates.items_V
        wanted = find_positions(items_V, to_ragged(users[c.of_domain(c.PAIR_ITEM_NUMS, domain)]))
        for rows in wanted.rows_S.unique().split(USERS_AT_ONCE):
            is_own_S = torch.isin(wanted.rows_S, rows)
            items = Ragged(torch.searchsorted(rows, wanted.rows_S[is_own_S]), wanted.values_S[is_own_S])
            few = take_rows(batch, rows, domain)
            seen = find_positions(items_V, few.seen[domain])
            taken = Ragged(torch.cat([seen.rows_S, items.rows_S]), torch.cat([seen.values_S, items.values_S]))
            # Once for all models: hashing every pair takes eight times as long as a model's scores
            sample = sample_unseen(user_nums_B[rows], items_V, taken, num_negatives=num_negatives, seed=seed)
            parts += [_ranks(few, model, items, *sample) for model in own]
    return pd.concat(parts, ignore_index=True)


def sample_unseen(
    user_nums_B: Tensor, items_V: Tensor, taken: Ragged, *, num_negatives: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Positions of the sampled candidates, int64 [B, K], and whether a place holds one, bool [B, K].

    ``taken`` are positions that are never drawn. K is at most the number of candidates.
    """
    hash_BV = _mix(_mix(user_nums_B * _STEP + seed)[:, None] + items_V * _STEP) & _FEWER_BITS
    hash_BV[taken.rows_S, taken.values_S] = _FEWER_BITS
    drawn = hash_BV.topk(min(num_negatives, len(items_V)), dim=1, largest=False)
    return drawn.indices, drawn.values < _FEWER_BITS


def _ranks(
    users: UserBatch, model: LoadedModel, items: Ragged, drawn_BK: Tensor, is_drawn_BK: Tensor
) -> "pd.DataFrame":
    """The rank of every item among its user's sample; ``items`` and ``drawn_BK`` are positions."""
    import pandas as pd

    candidates = model.candidates
    scores_BV = model.score(users).block(0, len(candidates.items_V))
    own_S1, drawn_SK = scores_BV[items.rows_S, items.values_S][:, None], drawn_BK[items.rows_S]
    others_SK = scores_BV[items.rows_S[:, None], drawn_SK]
    is_ahead_SK = (others_SK > own_S1) | ((others_SK == own_S1) & (drawn_SK < items.values_S[:, None]))
    rank_S = 1 + (is_ahead_SK & is_drawn_BK[items.rows_S]).sum(dim=1)
    return pd.DataFrame(
        {
            c.USER_ID: users.user_ids_B[items.rows_S.numpy()],
            c.MODEL_INDEX: model.model_index,
            c.DOMAIN_NUM: candidates.domain_num,
            c.ITEM_NUM: candidates.items_V[items.values_S].numpy(),
            c.RANK: rank_S.numpy(),
        }
    )


def _mix(numbers: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64; ``>>`` keeps the sign, so the bits it fills in are masked away."""
    numbers = (numbers ^ ((numbers >> 30) & ((1 << 34) - 1))) * _FIRST
    numbers = (numbers ^ ((numbers >> 27) & ((1 << 37) - 1))) * _SECOND
    return numbers ^ ((numbers >> 31) & ((1 << 33) - 1))
