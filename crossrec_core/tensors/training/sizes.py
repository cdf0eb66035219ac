"""A model's configuration in, what it takes in memory out; traced on torch's meta device, where nothing is allocated.

B batch, L length, D width, V candidates.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.training.losses import full_softmax

NUM_EVENT_COLUMNS = 5
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """Numbers of parameters and bytes, in float32."""

    table_parameters: int  # the item table: one row per item
    dense_parameters: int  # everything else
    weight_bytes: int
    frozen_bytes: int  # text vectors and other buffers
    gradient_bytes: int  # of the dense part; of the table, the rows that a batch looks up
    optimiser_bytes: int  # two moments of every parameter
    activation_bytes: int  # what one batch keeps for the backward pass

    @property
    def training_bytes(self) -> int:
        """All that one training step holds."""
        return (
            self.weight_bytes + self.frozen_bytes + self.gradient_bytes + self.optimiser_bytes + self.activation_bytes
        )


def describe_memory(config: ModelConfig, *, batch_size: int, num_candidates: int) -> Memory:
    """Memory of training with B = ``batch_size`` sequences of ``config.max_len`` events, all positions targets.

    ``num_candidates`` is V of the softmax: a domain's candidates, or the shared negatives. Activations are those that
    the traced operations keep; fused kernels keep somewhat less (attention) or more (LSTM). Those of attributes are
    left out: how many there are depends on the values.
    """
    model = build_on_meta(config)
    table = model.items.ids.numel()
    dense = sum(values.numel() for values in model.parameters()) - table
    rows = min(batch_size * config.max_len + num_candidates, config.num_items + 1)
    return Memory(
        table_parameters=table,
        dense_parameters=dense,
        weight_bytes=FLOAT_BYTES * (table + dense),
        frozen_bytes=sum(values.nbytes for values in model.buffers()),
        gradient_bytes=FLOAT_BYTES * (dense + rows * config.width),
        optimiser_bytes=2 * FLOAT_BYTES * (table + dense),
        activation_bytes=_activation_bytes(_without_attributes(config), batch_size, num_candidates),
    )


def build_on_meta(config: ModelConfig) -> SequenceModel:
    """The model with shapes and no values."""
    with torch.device("meta"):
        return SequenceModel(config)


def _without_attributes(config: ModelConfig) -> SequenceModel:
    return build_on_meta(replace(config, num_attributes=0, attributes_per_item=0))


def _activation_bytes(model: SequenceModel, batch_size: int, num_candidates: int) -> int:
    """Bytes of the storages, parameters aside, that the forward pass saves for the backward pass."""
    held = {values.untyped_storage()._cdata for values in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def keep(values: Tensor) -> Tensor:
        storage = values.untyped_storage()
        if storage._cdata not in held:
            saved[storage._cdata] = storage.nbytes()
        return values

    with torch.device("meta"), saved_tensors_hooks(keep, lambda values: values):
        events = [torch.ones(batch_size, model.config.max_len, dtype=torch.int64) for _ in range(NUM_EVENT_COLUMNS)]
        queries_PD = model.query(model(*events), events[1]).flatten(0, 1)
        vectors_VD = model.item_vectors(torch.ones(num_candidates, dtype=torch.int64))
        loss = full_softmax(queries_PD, vectors_VD, events[0].flatten())  # keeps the graph, and so the storages, alive
    assert loss.requires_grad
    return sum(saved.values())
