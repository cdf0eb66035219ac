"""A frozen model and users at a moment in, the candidates that a head may rank anew out: the model's own best.

R rows, L length, V candidates, M listed candidates, Q query events, N negatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.inputs.batches import is_candidate
from crossrec_core.tensors.meta_learning.task_features import states
from crossrec_core.tensors.meta_learning.tasks import Pairs
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.ranker import POPULARITY_FLOOR
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import mask_items

SCORES_AT_ONCE = 50_000_000  # 200 MB: a large catalogue is scored for a few rows at a time


@dataclass(frozen=True)
class Shortlist:
    """What a head is shown, and which of the items that were asked for it is good enough to hold."""

    items_RM: Tensor  # int64, best first, 0 where there are fewer
    is_listed_RQ: Tensor  # bool


def draw_up(
    model: SequenceModel, columns: Mapping[str, Tensor], known_R: Tensor, domain_num: int, candidates: Candidates, *,
    left_out_RL: Tensor, asked_RQ: Tensor, num_ranked: int,
) -> Shortlist:  # fmt: skip
    """The best ``num_ranked`` candidates of the model that knows each row's first ``known_R`` events.

    By popularity where it knows none; the items of ``left_out_RL`` (0 is none) are not listed. Of ``asked_RQ`` those
    count as listed that score as much as the last one listed, left out or not.
    """
    nums_V, popularity_V = candidates.items[domain_num], candidates.popularity[domain_num]
    fallback_V = popularity_V.clamp(min=POPULARITY_FLOOR).log()
    is_candidate_RQ = is_candidate(asked_RQ, nums_V)
    places_RQ = torch.searchsorted(nums_V, asked_RQ.contiguous()).clamp(max=len(nums_V) - 1)
    items, listed = [], []
    with torch.no_grad():
        known_R1 = known_R.unsqueeze(1)
        moment = Pairs(torch.ones_like(known_R1), known_R1, known_R1, known_R1)
        states_RD, vectors_VD = states(model, columns, moment, domain_num)[:, 0], model.item_vectors(nums_V)
        for rows in torch.arange(len(known_R), device=known_R.device).split(max(SCORES_AT_ONCE // len(nums_V), 1)):
            scores_RV = torch.where(known_R1[rows] == 0, fallback_V, states_RD[rows] @ vectors_VD.T)
            top = mask_items(scores_RV, nums_V, left_out_RL[rows]).topk(min(num_ranked, len(nums_V)), dim=1)
            items.append(nums_V[top.indices] * (top.values > -torch.inf))
            listed.append(is_candidate_RQ[rows] & (scores_RV.gather(1, places_RQ[rows]) >= top.values[:, -1:]))
    return Shortlist(torch.cat(items), torch.cat(listed))


def draw_listed(shortlist: Shortlist, *, num_events: int, num_negatives: int, generator: Generator) -> Tensor:
    """Negatives for every query event of every task, drawn from its list: item numbers [R, Q, N]."""
    num_rows, num_listed = shortlist.items_RM.shape
    places = torch.randint(
        num_listed, (num_rows, num_events * num_negatives), generator=generator, device=generator.device
    )
    return shortlist.items_RM.gather(1, places).view(num_rows, num_events, num_negatives)
