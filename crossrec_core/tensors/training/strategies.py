"""A transfer strategy and a model in, how fast each parameter may move out; and what is added to its loss.

    zero_shot    the pretrained model as it is
    adapter      only the low-rank adapters, the norms and the target's query token learn
    feature      the encoder is frozen; the item vectors, the last norm and the query token learn
    parameter    everything learns, lower layers slower, and is pulled to the source's weights
    joint        everything learns from the sources and the target, whose share of the loss grows
    target_only  the control: fresh weights, the target's events alone

P parameters by name.
"""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import Batch
from crossrec_core.tensors.network.encoder import SequenceModel

Step = Callable[[Batch], Tensor | None]
MixLosses = Callable[[Mapping[int, Tensor], Mapping[int, int]], Tensor]

ITEM_IDS = "items.ids"
HEAD = ("items.", "last_norm.", "target_domains.")  # what turns a hidden vector into scores
ADAPTERS = "adapters"  # part of the name of every low-rank adapter's parameter
# A few parameters from a good start bear a larger step than the whole model (3e-4 becomes 9e-4)
FEW_PARAMETERS_RATE = 3.0


def learning_rates(model: SequenceModel, *, strategy: str, layer_decay: float) -> dict[str, float]:
    """By parameter name, the learning rate as a multiple of the stage's; 0 is frozen.

    For ``parameter`` a block has ``layer_decay`` times the rate of the one above it, what feeds the lowest block that
    again (ULMFiT, Howard and Ruder 2018). The item table is input and output at once; it counts as the head, at the
    full rate: the target's items are what is new.
    """
    names = [name for name, _ in model.named_parameters()]
    if strategy == c.ZERO_SHOT:
        return dict.fromkeys(names, 0.0)
    if strategy == c.FEATURE:
        return {name: FEW_PARAMETERS_RATE * (name.startswith(HEAD) and ADAPTERS not in name) for name in names}
    if strategy == c.ADAPTER:
        small = {*_norms(model), *(name for name in names if ADAPTERS in name or name.startswith("target_domains."))}
        return {name: FEW_PARAMETERS_RATE * (name in small) for name in names}
    if strategy == c.PARAMETER:
        depth = 1 + max([_layer(name) for name in names], default=-1)
        return {name: 1.0 if name.startswith(HEAD) else layer_decay ** (depth - _layer(name)) for name in names}
    assert strategy in (c.JOINT, c.TARGET_ONLY), strategy
    return dict.fromkeys(names, 1.0)


def freeze(model: SequenceModel, rates_P: Mapping[str, float]) -> None:
    """Let only the parameters with a rate above 0 learn."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(rates_P[name] > 0)


def with_source_pull(step: Step, model: SequenceModel, *, strength: float) -> Step:
    """Add ``strength / 2 * |w - w0|^2`` to the step's loss, w0 the weights of this moment (L2-SP, Li et al. 2018).

    The item ids are left out, as the paper leaves out the new head: pulling them would make their gradient dense, and
    a row for every item of the catalogue, touched or not, would move.
    """
    pulled = [(parameter, parameter.detach().clone()) for name, parameter in model.named_parameters()
              if name != ITEM_IDS and parameter.requires_grad]  # fmt: skip

    def pulled_step(batch: Batch) -> Tensor | None:
        loss = step(batch)
        if loss is None:
            return None
        distances = [(parameter - source).square().sum() for parameter, source in pulled]
        return loss + strength / 2 * torch.stack(distances).sum()

    return pulled_step


def target_share(num_batches: int, *, start: float, total_batches: int) -> float:
    """The target's share of the joint loss after ``num_batches``: a line from ``start`` to 1 at ``total_batches``."""
    return start + (1 - start) * min(num_batches / max(total_batches, 1), 1.0)


def joint_weights(counts: Mapping[int, int], *, target: int, share: float, temperature: float) -> dict[int, float]:
    """Weights of the domains' mean losses in one batch: ``share`` for the target, the rest by n_d^temperature.

    ``counts`` are the positions n_d of each domain. They do not sum to 1 where the target or all sources are missing:
    a batch without target events must not move the model more than one with them.
    """
    powers = {domain: count**temperature for domain, count in counts.items() if domain != target}
    weights = {domain: (1 - share) * power / sum(powers.values()) for domain, power in powers.items()}
    return weights | ({target: share} if target in counts else {})


def joint_mix(*, target: int, start: float, total_batches: int, temperature: float) -> MixLosses:
    """What weighs the domains' losses of joint training; each call is one batch of the schedule."""
    num_batches = 0

    def mix(losses: Mapping[int, Tensor], counts: Mapping[int, int]) -> Tensor:
        nonlocal num_batches
        share = target_share(num_batches, start=start, total_batches=total_batches)
        num_batches += 1
        weights = joint_weights(counts, target=target, share=share, temperature=temperature)
        return torch.stack([losses[domain] * weights[domain] for domain in losses]).sum()

    return mix


def _norms(model: SequenceModel) -> set[str]:
    """The names of all norms' parameters."""
    kinds = (nn.RMSNorm, nn.LayerNorm)
    norms = [(prefix, module) for prefix, module in model.named_modules() if isinstance(module, kinds)]
    return {f"{prefix}.{name}" for prefix, module in norms for name, _ in module.named_parameters()}


def _layer(name: str) -> int:
    """The block a parameter belongs to, from 0; -1 for what lies before the blocks."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found.group(1)) if found else -1
