"""Stage 2: sequences in, what a target domain's model may learn from out. The step is pretraining's, on one domain.

``transferred`` starts from the pretrained weights and sees mixed sequences; ``target_only``, the control, starts
fresh and sees the target's events alone. Both have the same shape, so parameter transfer is a copy.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.batches import drop_without_targets, keep_domain
from crossrec_core.tensors.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.items import ItemAttributes
from crossrec_core.tensors.validation import HeldOut


def build_model(
    config: ModelConfig, *, seed: int, text_vectors_IK: Tensor | None, attributes: ItemAttributes | None = None
) -> SequenceModel:
    """A fresh model; the seed alone makes its weights. ``text_vectors_IK`` has zero rows where there is no text."""
    assert (attributes is None) == (config.num_attributes == 0), "attributes go with a config that counts them"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SequenceModel(config)
    if text_vectors_IK is not None and config.text_dimensions:
        model.items.text_vectors_IK.copy_(text_vectors_IK)
    if attributes is not None:
        model.items.attribute_nums_IA.copy_(attributes.nums_IA)
        model.items.attribute_weights_IA.copy_(attributes.weights_IA)
    return model


def as_read_by(held_out: HeldOut, *, model_name: str) -> HeldOut:
    """Held-out users as a model reads them: the control without transfer sees its own domain's events only."""
    if model_name != c.TARGET_ONLY:
        return held_out
    return replace(held_out, columns=keep_domain(held_out.columns, held_out.domain_num))


def pick_rows(columns: Mapping[str, Tensor], *, model_name: str, domain_num: int) -> dict[str, Tensor]:
    """The sequences that teach a target domain's model: mixed for ``transferred``, compressed for ``target_only``.

    Rows without a target event to predict are dropped.
    """
    assert model_name in (c.TRANSFERRED, c.TARGET_ONLY), model_name
    rows = keep_domain(columns, domain_num) if model_name == c.TARGET_ONLY else columns
    return drop_without_targets(rows, torch.tensor([domain_num]))
