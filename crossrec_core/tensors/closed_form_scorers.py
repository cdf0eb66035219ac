"""Artifacts of the closed-form models in, block scorers out (IO: memory-mapped files).

B users, L length, V candidates, K factors. A model that has nothing to say about a candidate leaves it to the
stand-ins of ``block_scores``.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossrec_core.tensors.block_scores import BlockScorer, BlockScores, DomainCandidates, pad_rows, with_fill
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.sparse_scores import fold_in, mix_popularity, transition_scores
from crossrec_core.tensors.user_batch import UserBatch

WEIGHTS_FILE = "weights.safetensors"


def load_item_scores(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a model that scores an item the same for every user: nothing it says is personal."""
    scores_V = read_tensors(folder / WEIGHTS_FILE)["scores_V"]

    def score(users: UserBatch) -> BlockScores:
        num_users = len(users.items_BL)
        is_personal_B = torch.zeros(num_users, dtype=torch.bool)
        return BlockScores(
            block=lambda lo, hi: scores_V[lo:hi].repeat(num_users, 1),
            at=lambda rows_P, positions_P: scores_V[positions_P],
            is_personal_B=is_personal_B,
            probability=None,
        )

    return score


def load_transitions(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load an item-item model. Candidates that no event of the user leads to are filled by popularity.

    With a popularity share the model has a score for users without evidence too; it is then not personal.
    """
    weights = read_tensors(folder / WEIGHTS_FILE)
    share = float(settings.get("popularity_share", 0.0))

    def score(users: UserBatch) -> BlockScores:
        scores_BV = transition_scores(
            users.items_BL,
            indptr=weights["indptr"],
            positions=weights["positions"],
            weights=weights["weights"],
            num_candidates=len(candidates.items_V),
            history_decay=float(settings["history_decay"]),
        )
        is_personal_B = (scores_BV > 0).any(dim=1)
        if share > 0:
            scores_BV = mix_popularity(scores_BV, weights["scores_V"], share=share)

        def block(lo: int, hi: int) -> Tensor:
            part_BV = scores_BV[:, lo:hi]
            return torch.where(part_BV > 0, part_BV, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            part_P = scores_BV[rows_P, positions_P]
            return torch.where(part_P > 0, part_P, candidates.fill_V[positions_P])

        return BlockScores(block, at, is_personal_B, None)

    return score


def load_factors(folder: Path, settings: dict[str, Any], candidates: DomainCandidates) -> BlockScorer:
    """Load a factor model: a user's factors are solved for from the events; users without a known item are filled."""
    weights = read_tensors(folder / WEIGHTS_FILE)

    def score(users: UserBatch) -> BlockScores:
        users_BK = fold_in(
            users.items_BL,
            vectors_IK=weights["all_vectors_IK"],
            gram_KK=weights["gram_KK"],
            regularisation=float(settings["regularisation"]),
            alpha=float(settings["alpha"]),
        )
        is_personal_B = (users_BK != 0).any(dim=1)

        padded_BK = pad_rows(users_BK)

        def block(lo: int, hi: int) -> Tensor:
            scores_BV = (padded_BK @ weights["vectors_VK"][lo:hi].T)[: len(users_BK)]
            return with_fill(scores_BV, is_personal_B, candidates.fill_V[lo:hi])

        def at(rows_P: Tensor, positions_P: Tensor) -> Tensor:
            dot_P = (users_BK[rows_P] * weights["vectors_VK"][positions_P]).sum(dim=1)
            return torch.where(is_personal_B[rows_P], dot_P, candidates.fill_V[positions_P])

        return BlockScores(block, at, is_personal_B, None)

    return score
