"""The in-context model and a head that a few events adapt in, a block scorer out: the model ``adapted``.

The in-context model draws up a shortlist for every user and the head ranks it anew. What the shortlist weighs in all
stays as it was, so that a softmax over all candidates is still one distribution, which a blend can weigh.

B users, V candidates, K support events, N negatives, M places of the shortlist, P pairs of a user and a candidate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.user_batch import UserBatch, find_positions
from crossrec_core.tensors.meta_learning.learning_curves import Asking
from crossrec_core.tensors.meta_learning.meta_artifacts import load_head
from crossrec_core.tensors.meta_learning.task_features import Tasks, to_tasks
from crossrec_core.tensors.meta_learning.tasks import Pairs, cut_at_end, draw_task_negatives, support_pairs
from crossrec_core.tensors.network.checkpoint import load_checkpoint
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.retrieval.block_scores import (
    FILL_TOP,
    ROW_TILE,
    BlockScorer,
    BlockScores,
    DomainCandidates,
    pad_rows,
)
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.retrieval.topk import top_n
from crossrec_core.tensors.scoring.neural_scorer import in_context_scorer


@dataclass(frozen=True)
class Reranker:
    """A head over the model whose vectors it reads, and how it is asked."""

    model: SequenceModel
    head: nn.Module  # float64: what a matrix product rounds by a row's place in the batch is gone in float32
    candidates: DomainCandidates
    asking: Asking


@dataclass(frozen=True)
class Shortlist:
    """The candidates whose scores a head has changed."""

    positions_BM: Tensor  # int64, -1 for padding and for users of whom nothing is known
    scores_BM: Tensor  # float32 logits, -inf for padding


def load_adapted(pretrained: str, head: str, settings: Mapping[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load the folders of a pretrained model and of its head; ``settings`` are those of ``Asking``.

    Raises:
        CheckpointError: one of them is missing or broken, or they were made for different ids.
    """
    checkpoint = load_checkpoint(pretrained)
    fitted, _ = load_head(head, id_fingerprint=checkpoint.about.id_fingerprint)
    checkpoint.model.requires_grad_(False)
    asking = Asking(**{name: int(settings[name]) for name in Asking.__dataclass_fields__})
    reranker = Reranker(checkpoint.model, fitted.requires_grad_(False).double(), candidates, asking)
    return adapted_scorer(in_context_scorer(checkpoint, candidates), reranker)


def adapted_scorer(in_context: BlockScorer, reranker: Reranker) -> BlockScorer:
    """Logits: the head's in each user's shortlist, the in-context model's elsewhere; users without events are filled.

    All users' support events meet the same negatives, so that no list depends on who else is in the batch.
    """
    items_V, asking = reranker.candidates.items_V, reranker.asking
    negatives_1KN = draw_task_negatives(
        items_V, reranker.candidates.popularity_V, num_rows=1, num_events=asking.num_support,
        num_negatives=asking.num_negatives, generator=torch.Generator().manual_seed(asking.seed),
    )  # fmt: skip

    def score(users: UserBatch) -> BlockScores:
        scores = in_context(users)
        shortlist = _rerank(reranker, users, _draw_up(scores, users, reranker), negatives_1KN)

        def block(lo: int, hi: int) -> Tensor:
            scores_BV = scores.block(lo, hi)
            rows, places = torch.nonzero(
                (shortlist.positions_BM >= lo) & (shortlist.positions_BM < hi), as_tuple=True
            )  # fmt: skip
            scores_BV[rows, shortlist.positions_BM[rows, places] - lo] = shortlist.scores_BM[rows, places]
            return scores_BV

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            is_here_PM = shortlist.positions_BM[rows_P] == positions_P[:, None]
            place_P1 = is_here_PM.int().argmax(dim=1, keepdim=True)
            changed_P = shortlist.scores_BM[rows_P].gather(1, place_P1).squeeze(1)
            return torch.where(is_here_PM.any(dim=1), changed_P, scores.at(rows_P, positions_P))

        return BlockScores(block, at, scores.is_personal_B, None)

    return score


def _draw_up(scores: BlockScores, users: UserBatch, reranker: Reranker) -> Shortlist:
    """Each user's best unseen candidates by the in-context model; stand-ins are none."""
    items_V = reranker.candidates.items_V
    seen = find_positions(items_V, users.seen[reranker.candidates.domain_num])
    positions_BM, scores_BM = top_n(
        scores.block, num_candidates=len(items_V), n=reranker.asking.num_ranked, seen_rows=seen.rows_S,
        seen_positions=seen.values_S,
    )  # fmt: skip
    is_real_BM = (positions_BM >= 0) & (scores_BM > FILL_TOP)
    return Shortlist(torch.where(is_real_BM, positions_BM, -1), scores_BM.masked_fill(~is_real_BM, -torch.inf))


def _rerank(reranker: Reranker, users: UserBatch, drawn: Shortlist, negatives_1KN: Tensor) -> Shortlist:
    """The same candidates with the head's say: log of their share of sigmoid(logit), plus what they weighed together.

    Users are asked in whole tiles, which round the same in every batch and bound memory.
    """
    events = (users.items_BL, users.domains_BL, users.actions_BL, users.gaps_BL, users.orders_BL)
    changed = []
    for rows in torch.arange(len(users.items_BL)).split(ROW_TILE):
        columns = {name: pad_rows(values[rows]) for name, values in zip(SEQUENCE_COLUMNS, events, strict=True)}
        positions_RM = drawn.positions_BM[rows]
        empty_RM = pad_rows(positions_RM + 1) == 0
        items_RM = reranker.candidates.items_V[pad_rows(positions_RM.clamp_min(0))] * ~empty_RM
        said_RM = _ask(reranker, columns, items_RM, negatives_1KN).masked_fill(empty_RM, -torch.inf)
        weight_R = pad_rows(drawn.scores_BM[rows].nan_to_num(neginf=FILL_TOP)).logsumexp(dim=1)
        changed.append((said_RM.log_softmax(dim=1) + weight_R[:, None])[: len(rows)])
    scores_BM = torch.cat(changed) if changed else drawn.scores_BM
    return Shortlist(drawn.positions_BM, scores_BM.masked_fill(drawn.positions_BM < 0, -torch.inf))


def _ask(reranker: Reranker, columns: Mapping[str, Tensor], items_RM: Tensor, negatives_1KN: Tensor) -> Tensor:
    """log sigmoid of the head's logit for each item, [R, M]; what it was trained to share out among candidates."""
    own, num_rows = reranker.candidates, len(items_RM)
    cut = cut_at_end(columns, own.domain_num, num_support=reranker.asking.num_support)
    support = support_pairs(columns, cut, negatives_1KN.expand(num_rows, -1, -1), own.items_V)
    nothing_RM = torch.zeros(items_RM.shape)
    query = Pairs(items_RM, nothing_RM, nothing_RM, cut.known_R.unsqueeze(1).expand_as(items_RM))
    with torch.no_grad():
        tasks = to_tasks(reranker.model, columns, support, query, own.domain_num, _as_candidates(own))
        return F.logsigmoid(reranker.head(_to_double(tasks))).float()


def _to_double(tasks: Tasks) -> Tasks:
    doubled = {name: value.double() for name, value in vars(tasks).items() if value.is_floating_point()}
    return replace(tasks, **doubled)


def _as_candidates(own: DomainCandidates) -> Candidates:
    """One domain's candidates as the features of tasks read them."""
    number = own.domain_num
    return Candidates({number: own.items_V}, {number: own.popularity_V}, {number: own.trends_HV}, {}, "")
