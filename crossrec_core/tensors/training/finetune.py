"""Stage 2: sequences in, what a target domain's model may learn from out. The step is pretraining's, on one domain.

Every strategy but ``target_only``, the control, starts from the pretrained weights and sees mixed sequences; the
control starts fresh and sees the target's events alone. All have the same shape, so parameter transfer is a copy.

R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, drop_without_targets, keep_domain
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.network.items import ItemAttributes
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut

# Without validation nothing says which strategy is best: the one that moves the whole model, but not far
UNTESTED_ORDER = (c.PARAMETER, c.JOINT, c.ADAPTER, c.FEATURE, c.ZERO_SHOT)


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


def silence_untouched(model: SequenceModel, candidates: Candidates) -> None:
    """Zero the id of every item, and what stands for every domain, that no known event is of.

    Training moves only what it looks up, so these stay zero: a cold item is its text and its attributes alone.
    """
    known_I = torch.zeros(model.config.num_items + 1, dtype=torch.bool)
    known_D = torch.zeros(model.config.num_domains + 1, dtype=torch.bool)
    for number, items_V in candidates.items.items():
        is_touched_V = candidates.is_touched(number)
        known_I[items_V[is_touched_V]] = True
        known_D[number] = bool(is_touched_V.any())
    with torch.no_grad():
        model.items.ids[~known_I] = 0
        model.domains.weight[~known_D] = 0
        model.target_domains.weight[~known_D] = 0


def as_read_by(held_out: HeldOut, *, model_name: str) -> HeldOut:
    """Held-out users as a model reads them: the control without transfer sees its own domain's events only."""
    if model_name != c.TARGET_ONLY:
        return held_out
    return replace(held_out, columns=keep_domain(held_out.columns, held_out.domain_num))


def pick_rows(columns: Mapping[str, Tensor], *, strategy: str, domain_num: int) -> dict[str, Tensor]:
    """The sequences that teach a target domain's model: mixed ones, and compressed ones for ``target_only``.

    Rows without a target event to predict are dropped.
    """
    rows = keep_domain(columns, domain_num) if strategy == c.TARGET_ONLY else columns
    return drop_without_targets(rows, torch.tensor([domain_num]))


def pick_joint_rows(
    columns: Mapping[str, Tensor], *, domain_num: int, source_nums: Tensor, share: float, generator: Generator
) -> dict[str, Tensor]:
    """All rows that teach the target, and of the other rows that teach a source (int64 [any]) a ``share`` by chance."""
    domains_RL = columns["domain_nums"][:, 1:]
    teaches_target_R = (domains_RL == domain_num).any(dim=1)
    teaches_source_R = torch.isin(domains_RL, source_nums).any(dim=1)
    drawn_R = torch.rand(len(domains_RL), generator=generator) < share
    kept_R = teaches_target_R | (teaches_source_R & drawn_R)
    return {name: columns[name][kept_R] for name in SEQUENCE_COLUMNS}


def pick_source_rows(columns: Mapping[str, Tensor], *, domain_num: int, source_nums: Tensor) -> dict[str, Tensor]:
    """The rows that ``pick_joint_rows`` draws from: they teach a source, and not the target."""
    rows = drop_without_targets(columns, source_nums)
    without_target_R = ~(rows["domain_nums"][:, 1:] == domain_num).any(dim=1)
    return {name: values[without_target_R] for name, values in rows.items()}


def best_strategy(valid_ndcg: Mapping[str, float | None]) -> str:
    """The strategy with the best validation NDCG; ties go to the one that changes the pretrained model least.

    Without validation (all None) it is the first of ``UNTESTED_ORDER``.
    """
    known = {strategy: value for strategy, value in valid_ndcg.items() if value is not None}
    if known:
        return max(known, key=lambda strategy: (known[strategy], -c.STRATEGIES.index(strategy)))
    return untested_strategy(list(valid_ndcg))


def untested_strategy(strategies: Sequence[str]) -> str:
    """The strategy to take where none can be measured; a lone one is itself."""
    return min(strategies, key=lambda name: UNTESTED_ORDER.index(name) if name in UNTESTED_ORDER else -1)
