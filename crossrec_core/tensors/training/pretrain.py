"""Stage 1: the step for next-item or masked-item pretraining on all source domains. A batch in, a loss out.

P positions with a target, V candidates of a domain, K negatives, D width.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from crossrec_core.tensors.inputs.batches import Batch, is_candidate
from crossrec_core.tensors.inputs.masking import mask_batch
from crossrec_core.tensors.network.encoder import BERT, SequenceModel
from crossrec_core.tensors.network.items import pick_hidden_ids
from crossrec_core.tensors.training.losses import full_softmax, mix_domains, sampled_softmax
from crossrec_core.tensors.training.negatives import Draw, draw_negatives, draw_places
from crossrec_core.tensors.training.strategies import MixLosses
from crossrec_core.tensors.training.text_objective import text_objective


def make_step(
    model: SequenceModel,
    candidates: Mapping[int, Tensor],
    *,
    full_softmax_items: int,
    num_negatives: int,
    domain_temperature: float,
    generator: Generator,
    mix: MixLosses | None = None,
    reconstruction: float = 0.0,
    alignment: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    sizes: Mapping[int, int] | None = None,
    draws: Mapping[int, Draw] | None = None,
) -> Callable[[Batch], Tensor | None]:
    """Build the step of pretraining and fine-tuning alike: the loss of items in the domains of ``candidates``.

    The targets are the next events; those of ``bert`` are the events that ``mask_batch`` hides.

    ``candidates`` maps domain numbers to ascending item numbers [V]; other targets are ignored. The step returns None
    for a batch without a target. ``generator`` draws negatives, hidden ids and masks; it lives where the model and the
    candidates live. ``mix`` weighs the domains' losses; None is ``mix_domains`` at ``domain_temperature``.
    ``reconstruction`` and ``alignment`` are the weights of ``text_objective``, 0 is off; ``temperature`` and
    ``label_smoothing`` are as in ``losses``. ``sizes`` are the numbers of items by domain that ``full_softmax_items``
    is held against; None takes those of ``candidates``. A refit, which knows more items, must not change its loss.
    ``draws`` say by domain how negatives are drawn, and the loss is corrected for it; None draws all alike without it.
    """

    config = model.config
    domain_nums = torch.tensor(sorted(candidates), device=generator.device)
    softening = {"temperature": temperature, "smoothing": label_smoothing}

    def step(batch: Batch) -> Tensor | None:
        hidden_I = pick_hidden_ids(config.num_items, config.id_dropout, generator)
        if config.encoder == BERT:
            batch = mask_batch(
                batch, domain_nums, mask_share=config.mask_share, mask_last_share=config.mask_last_share,
                generator=generator,
            )  # fmt: skip
        hidden_BLD = model(
            batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, batch.orders_BL,
            wanted_domains_BL=batch.target_domains_BL, hidden_I=hidden_I, sparse=True,
        )  # fmt: skip
        losses, counts = {}, {}
        for domain, nums_V in candidates.items():
            taken_BL = (batch.target_domains_BL == domain) & is_candidate(batch.target_items_BL, nums_V)
            # A mask as an index would be searched, and waited for, at every use
            taken_P = taken_BL.flatten().nonzero().squeeze(1)
            if len(taken_P) == 0:
                continue
            targets_P = batch.target_items_BL.flatten()[taken_P]
            hidden_PD = hidden_BLD.flatten(0, 1).index_select(0, taken_P)
            queries_PD = model.query(hidden_PD, torch.full_like(targets_P, domain))
            counts[domain] = len(targets_P)
            if (sizes or {}).get(domain, len(nums_V)) <= full_softmax_items:
                losses[domain] = _full_loss(model, queries_PD, targets_P, nums_V, hidden_I, **softening)
            else:
                negatives_K, log_expected_K = _draw(nums_V, num_negatives, generator, (draws or {}).get(domain))
                losses[domain] = _sampled_loss(
                    model, queries_PD, targets_P, negatives_K, log_expected_K, hidden_I, **softening
                )
        if not losses:
            return None
        loss = mix(losses, counts) if mix else mix_domains(losses, counts, temperature=domain_temperature)
        return loss + text_objective(
            model.items, batch.target_items_BL, reconstruction=reconstruction, alignment=alignment, generator=generator
        )

    return step


def _full_loss(
    model: SequenceModel, queries_PD: Tensor, targets_P: Tensor, nums_V: Tensor, hidden_I: Tensor | None,
    *, temperature: float, smoothing: float,
) -> Tensor:  # fmt: skip
    vectors_VD = model.item_vectors(nums_V, hidden_I, sparse=True)
    places_P = torch.searchsorted(nums_V, targets_P)
    return full_softmax(queries_PD, vectors_VD, places_P, temperature=temperature, smoothing=smoothing)


def _draw(nums_V: Tensor, num_negatives: int, generator: Generator, draw: Draw | None) -> tuple[Tensor, Tensor | None]:
    """Item numbers [K], and what the loss is corrected by."""
    if draw is None:
        return draw_negatives(nums_V, num_negatives, generator), None
    places_K = draw_places(draw, num_negatives, generator)
    return nums_V[places_K], draw.log_expected(places_K)


def _sampled_loss(
    model: SequenceModel, queries_PD: Tensor, targets_P: Tensor, negatives_K: Tensor, log_expected_K: Tensor | None,
    hidden_I: Tensor | None, *, temperature: float, smoothing: float,
) -> Tensor:  # fmt: skip
    vectors = model.item_vectors(torch.cat((targets_P, negatives_K)), hidden_I, sparse=True)
    targets_PD, negatives_KD = vectors.split((len(targets_P), len(negatives_K)))
    return sampled_softmax(
        queries_PD, targets_PD, negatives_KD, targets_P, negatives_K, log_expected_K=log_expected_K,
        temperature=temperature, smoothing=smoothing,
    )  # fmt: skip
