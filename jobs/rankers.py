"""A network and its domain's labelled pairs in, its click probability out (IO)."""

import torch

from crossrec_core import columns as c
from crossrec_core.lake import model_location
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.meta_learning.pairs import phi_of_pairs
from crossrec_core.tensors.network.checkpoint import load_checkpoint
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.probability.likes import like_features
from crossrec_core.tensors.probability.ranker import Ranker, fit_ranker
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from jobs.ground import Ground, read_labelled_pairs


def ranker_of(ground: Ground, model: SequenceModel, name: str, domain: str) -> Ranker | None:
    """Fitted at validate; elsewhere the one that was fitted there, if any."""
    if ground.purpose != c.VALIDATE:
        path = ground.night.lake.at(model_location(ground.night.run_id, c.VALIDATE, name, domain))
        return load_checkpoint(path).ranker if has_file(path, "ranker.json") else None
    if domain not in ground.held_out:
        return None
    return fit_domain_ranker(ground, model, domain)


def fit_domain_ranker(ground: Ground, model: SequenceModel, domain: str) -> Ranker | None:
    """Fit P(click) on the labelled pairs of the domain's validation users; None when they have none."""
    held_out, pairs = ground.held_out[domain], read_labelled_pairs(ground, domain)
    if not len(pairs.rows_P):
        return None
    candidates = candidates_of(ground.candidates, held_out.domain_num)
    positions_P = torch.searchsorted(candidates.items_V, pairs.item_nums_P).clamp(max=len(candidates.items_V) - 1)
    phi_PF = phi_of_pairs(
        model, held_out.columns, pairs.rows_P, pairs.item_nums_P, domain_num=held_out.domain_num,
        nums_V=candidates.items_V, popularity_V=candidates.popularity_V,
        likes_P2=like_features(candidates.likes, held_out.likes_R2, pairs.rows_P, positions_P),
    )  # fmt: skip
    return fit_ranker(
        phi_PF, pairs.labels_P, pairs.user_nums_P, negatives_per_positive=ground.num_negatives.get(domain, 0)
    )
