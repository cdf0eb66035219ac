"""Stage 1: the step for next-item pretraining on all source domains. A batch in, a loss out.

P positions with a target, V candidates of a domain, K negatives, D width.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.batches import Batch, is_candidate
from crossrec_core.tensors.encoder import SequenceModel
from crossrec_core.tensors.items import pick_hidden_ids
from crossrec_core.tensors.losses import full_softmax, mix_domains, sampled_softmax
from crossrec_core.tensors.negatives import draw_negatives
from crossrec_core.tensors.text_objective import text_objective


def make_step(
    model: SequenceModel,
    candidates: Mapping[int, Tensor],
    *,
    full_softmax_items: int,
    num_negatives: int,
    domain_temperature: float,
    generator: Generator,
    reconstruction: float = 0.0,
    alignment: float = 0.0,
) -> Callable[[Batch], Tensor | None]:
    """Build the step of pretraining and fine-tuning alike: next-item loss in the domains of ``candidates``.

    ``candidates`` maps domain numbers to ascending item numbers [V]; other targets are ignored. The step returns None
    for a batch without a target. ``generator`` draws negatives and hidden ids; it lives where the model and the
    candidates live. ``reconstruction`` and ``alignment`` are the weights of ``text_objective``; 0 is off.
    """

    def step(batch: Batch) -> Tensor | None:
        hidden_I = pick_hidden_ids(model.config.num_items, model.config.id_dropout, generator)
        hidden_BLD = model(
            batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, hidden_I=hidden_I, sparse=True
        )
        losses, counts = {}, {}
        for domain, nums_V in candidates.items():
            taken_BL = (batch.target_domains_BL == domain) & is_candidate(batch.target_items_BL, nums_V)
            targets_P = batch.target_items_BL[taken_BL]
            if len(targets_P) == 0:
                continue
            queries_PD = model.query(hidden_BLD[taken_BL], torch.full_like(targets_P, domain))
            counts[domain] = len(targets_P)
            if len(nums_V) <= full_softmax_items:
                losses[domain] = _full_loss(model, queries_PD, targets_P, nums_V, hidden_I)
            else:
                negatives_K = draw_negatives(nums_V, num_negatives, generator)
                losses[domain] = _sampled_loss(model, queries_PD, targets_P, negatives_K, hidden_I)
        if not losses:
            return None
        loss = mix_domains(losses, counts, temperature=domain_temperature)
        return loss + text_objective(
            model.items, batch.target_items_BL, reconstruction=reconstruction, alignment=alignment, generator=generator
        )

    return step


def _full_loss(
    model: SequenceModel, queries_PD: Tensor, targets_P: Tensor, nums_V: Tensor, hidden_I: Tensor | None
) -> Tensor:
    vectors_VD = model.item_vectors(nums_V, hidden_I, sparse=True)
    return full_softmax(queries_PD, vectors_VD, torch.searchsorted(nums_V, targets_P))


def _sampled_loss(
    model: SequenceModel, queries_PD: Tensor, targets_P: Tensor, negatives_K: Tensor, hidden_I: Tensor | None
) -> Tensor:
    vectors = model.item_vectors(torch.cat((targets_P, negatives_K)), hidden_I, sparse=True)
    targets_PD, negatives_KD = vectors.split((len(targets_P), len(negatives_K)))
    return sampled_softmax(queries_PD, targets_PD, negatives_KD, targets_P, negatives_K)
