import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.training.losses import full_softmax
from crossrec_core.tensors.training.sizes import build_on_meta, describe_memory
from tests.tensors.worlds import config

BILLION = {"width": 2048, "layers": 26, "heads": 16, "num_items": 100_000, "max_len": 200, "adapter_rank": 8}


@pytest.mark.parametrize(
    "changes",
    [{}, {"encoder": "hstu", "relative_bias": "time"}, {"encoder": "bert", "relative_bias": "position"},
     {"encoder": "lstm", "adapter_rank": 2}, {"encoder": "gru"}, {"text_dimensions": 6},
     {"num_attributes": 3, "attributes_per_item": 2}],
)  # fmt: skip
def test_parameters_are_those_of_the_real_model(changes):
    memory = describe_memory(config(**changes), batch_size=4, num_candidates=20)
    model = SequenceModel(config(**changes))
    assert memory.table_parameters == 21 * 16
    assert memory.table_parameters + memory.dense_parameters == sum(values.numel() for values in model.parameters())
    assert memory.weight_bytes == sum(values.nbytes for values in model.parameters())
    assert memory.frozen_bytes == sum(values.nbytes for values in model.buffers())


def test_optimiser_bytes_are_those_that_training_allocates():
    model = SequenceModel(config())
    optimiser = torch.optim.AdamW(model.parameters())
    model.item_vectors(torch.arange(21)).sum().backward()
    for values in model.parameters():
        values.grad = torch.zeros_like(values)
    optimiser.step()
    moments = [state[name].nbytes for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert describe_memory(config(), batch_size=4, num_candidates=20).optimiser_bytes == sum(moments)


@pytest.mark.parametrize("changes", [{"encoder": "hstu"}, {"relative_bias": "time"}])
def test_activation_bytes_are_those_that_a_real_pass_saves(changes):
    model = SequenceModel(config(**changes, dropout=0.2))
    parameters = {values.untyped_storage().data_ptr() for values in model.parameters()}
    saved = {}

    def keep(values):
        storage = values.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return values

    with saved_tensors_hooks(keep, lambda values: values):
        events = [torch.ones(4, 8, dtype=torch.int64) for _ in SEQUENCE_COLUMNS]
        queries_PD = model.query(model(*events), events[1]).flatten(0, 1)
        loss = full_softmax(queries_PD, model.item_vectors(torch.ones(20, dtype=torch.int64)), events[0].flatten())
    memory = describe_memory(config(**changes, dropout=0.2), batch_size=4, num_candidates=20)
    assert loss.requires_grad
    assert memory.activation_bytes == pytest.approx(sum(saved.values()), rel=0.05)


def test_a_billion_parameters_build_and_state_their_memory_without_allocating():
    memory = describe_memory(config(**BILLION), batch_size=32, num_candidates=4096)
    parameters = memory.table_parameters + memory.dense_parameters
    assert 1.4e9 < parameters < 1.7e9
    assert memory.weight_bytes == 4 * parameters
    assert memory.optimiser_bytes == 8 * parameters
    assert memory.training_bytes > 16 * memory.dense_parameters
    assert all(values.is_meta for values in build_on_meta(config(**BILLION)).parameters())


def test_activations_grow_with_the_batch():
    small, large = (describe_memory(config(), batch_size=size, num_candidates=20).activation_bytes for size in (16, 32))
    assert 1.8 < large / small < 2.01
