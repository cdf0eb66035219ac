import pytest
import torch
from torch.optim import Adam

from crossrec_core.tensors.network.items import ItemTable
from crossrec_core.tensors.training.text_objective import text_objective


def item_table(num_items=40, width=8, dimensions=6):
    """Items 1-30 have a text; ids are as large as texts, so that neither loss starts at its end."""
    torch.manual_seed(4)
    table = ItemTable(num_items, width, dimensions)
    table.ids.data[1:].normal_()
    table.text_vectors_IK[1:31] = torch.nn.functional.normalize(torch.randn(30, dimensions), dim=1).half()
    return table


def objective(table, nums, *, reconstruction=0.0, alignment=0.0):
    generator = torch.Generator().manual_seed(1)
    return text_objective(table, nums, reconstruction=reconstruction, alignment=alignment, generator=generator)


@pytest.mark.parametrize("weights", [{"reconstruction": 1.0}, {"alignment": 1.0}], ids=["reconstruction", "alignment"])
def test_descending_brings_items_and_texts_together(weights):
    table, nums = item_table(), torch.arange(31)
    before = objective(table, nums, **weights).item()
    optimiser = Adam([table.ids, table.text_map.weight], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = objective(table, nums, **weights)
        loss.backward()
        for parameter in (table.ids, table.text_map.weight):
            parameter.grad = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        optimiser.step()
    assert 0 <= objective(table, nums, **weights).item() < before / 4


def test_weights_add_up():
    table, nums = item_table(), torch.arange(31)
    parts = 2 * objective(table, nums, reconstruction=1.0) + 3 * objective(table, nums, alignment=1.0)
    torch.testing.assert_close(objective(table, nums, reconstruction=2.0, alignment=3.0), parts)


def test_repeats_padding_and_items_without_text_change_nothing():
    table = item_table()
    plain = objective(table, torch.arange(1, 31), reconstruction=1.0, alignment=1.0)
    padded = torch.cat((torch.arange(31), torch.arange(5), torch.arange(31, 41))).view(2, -1)
    torch.testing.assert_close(objective(table, padded, reconstruction=1.0, alignment=1.0), plain)


def test_nothing_to_compare_is_zero():
    table = item_table()
    assert objective(table, torch.arange(31)) == 0
    assert objective(table, torch.tensor([3, 35]), reconstruction=1.0, alignment=1.0) == 0
    assert objective(ItemTable(40, 8, 0), torch.arange(31), reconstruction=1.0, alignment=1.0) == 0
