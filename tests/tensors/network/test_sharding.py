"""Sharding over eight ranks that exist in name only, and over one real rank."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.network.sharding import shard
from crossrec_core.tensors.training.losses import full_softmax
from crossrec_core.tensors.training.sizes import build_on_meta
from tests.tensors.training.test_sizes import BILLION
from tests.tensors.worlds import config, parity_columns, tiny_model


@pytest.fixture
def group():
    """Starts a process group; it ends with the test."""
    yield dist.init_process_group
    dist.destroy_process_group()


@pytest.mark.parametrize("rank", [0, 7])
def test_a_billion_parameters_spread_evenly_over_eight_ranks(group, rank):
    group("fake", store=FakeStore(), rank=rank, world_size=8)
    whole = build_on_meta(config(**BILLION))
    num_parameters = sum(values.numel() for values in whole.parameters())
    sharded = shard(whole, init_device_mesh("cpu", (8,)))
    local = sum(values.to_local().numel() for values in sharded.parameters())
    assert local == pytest.approx(num_parameters / 8, rel=0.001)
    for block in sharded.blocks:
        of_block = sum(values.numel() for values in block.parameters())
        assert sum(values.to_local().numel() for values in block.parameters()) == pytest.approx(of_block / 8, rel=0.001)


def test_a_sharded_model_has_the_loss_and_the_gradients_of_the_whole_one(group, tmp_path):
    group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    events = [parity_columns(16, 6)[name] for name in SEQUENCE_COLUMNS]
    found = []
    for sharded in (False, True):
        model = tiny_model(relative_bias="time", adapter_rank=2)
        if sharded:
            shard(model, mesh)
        vectors_VD = model.item_vectors(torch.arange(1, 21))  # before any forward pass has gathered the item table
        queries_PD = model.query(model(*events), events[1]).flatten(0, 1)
        loss = full_softmax(queries_PD, vectors_VD, events[0].flatten() - 1)
        loss.backward()
        gradients = {name: values.grad for name, values in model.named_parameters() if values.grad is not None}
        found.append((loss, {name: grad.full_tensor() if sharded else grad for name, grad in gradients.items()}))
    (whole_loss, whole), (sharded_loss, spread) = found
    torch.testing.assert_close(sharded_loss, whole_loss)
    assert whole.keys() == spread.keys()
    for name in whole:
        torch.testing.assert_close(spread[name], whole[name], msg=name)
