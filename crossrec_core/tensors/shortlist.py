"""A frozen model and users at a moment in, the candidates that a head may rank anew out: the model's own best.

R rows, L length, V candidates, M listed candidates, Q query events, N negatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.batches import is_candidate
from crossrec_core.tensors.candidates import Candidates
from crossrec_core.tensors.encoder import SequenceModel
from crossrec_core.tensors.ranker import POPULARITY_FLOOR
from crossrec_core.tensors.task_features import states
from crossrec_core.tensors.tasks import Pairs
from crossrec_core.tensors.validation import mask_items


@dataclass(frozen=True)
class Shortlist:
    """What a head is shown, and what it takes to be on it."""

    items_RM: Tensor  # int64, best first, 0 where there are fewer
    scores_RV: Tensor  # float32, all candidates
    least_R1: Tensor  # float32, the lowest score that is listed


def draw_up(
    model: SequenceModel, columns: Mapping[str, Tensor], known_R: Tensor, domain_num: int, candidates: Candidates, *,
    left_out_RL: Tensor, num_ranked: int,
) -> Shortlist:  # fmt: skip
    """The best ``num_ranked`` candidates of the model that knows each row's first ``known_R`` events.

    By popularity where it knows none; the items of ``left_out_RL`` (0 is none) are not listed.
    """
    nums_V, popularity_V = candidates.items[domain_num], candidates.popularity[domain_num]
    with torch.no_grad():
        known_R1 = known_R.unsqueeze(1)
        asked = Pairs(torch.ones_like(known_R1), known_R1, known_R1, known_R1)
        scores_RV = states(model, columns, asked, domain_num)[:, 0] @ model.item_vectors(nums_V).T
        scores_RV = torch.where(known_R1 == 0, popularity_V.clamp(min=POPULARITY_FLOOR).log(), scores_RV)
        top = mask_items(scores_RV, nums_V, left_out_RL).topk(min(num_ranked, len(nums_V)), dim=1)
    items_RM = nums_V[top.indices] * (top.values > -torch.inf)
    return Shortlist(items_RM, scores_RV, top.values[:, -1:])


def is_listed(shortlist: Shortlist, items_RQ: Tensor, nums_V: Tensor) -> Tensor:
    """Whether items would be on the list, bool [R, Q]; one that was left out is held against it all the same."""
    places_RQ = torch.searchsorted(nums_V, items_RQ.contiguous()).clamp(max=len(nums_V) - 1)
    return is_candidate(items_RQ, nums_V) & (shortlist.scores_RV.gather(1, places_RQ) >= shortlist.least_R1)


def draw_listed(shortlist: Shortlist, *, num_events: int, num_negatives: int, generator: Generator) -> Tensor:
    """Negatives for every query event of every task, drawn from its list: item numbers [R, Q, N]."""
    num_rows, num_listed = shortlist.items_RM.shape
    places = torch.randint(
        num_listed, (num_rows, num_events * num_negatives), generator=generator, device=generator.device
    )
    return shortlist.items_RM.gather(1, places).view(num_rows, num_events, num_negatives)
