import pytest
import torch

from crossrec_core.tensors.training.averaging import averaged, one_step, start_average, take_average
from crossrec_core.tensors.training.optimiser import make_optimisers
from tests.tensors.worlds import tiny_model

TABLE = "items.ids"


def take_steps(model, average, touched, *, seen=None):
    """One optimiser step per entry of ``touched``: the items that its loss looks at."""
    optimisers = make_optimisers(model, learning_rate=0.1, weight_decay=0.0)
    for nums in touched:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        nums = torch.tensor(nums)
        model.query(model.item_vectors(nums, sparse=True), torch.ones_like(nums)).pow(2).sum().backward()
        with one_step(average, model):
            for optimiser in optimisers:
                optimiser.step()
        if seen is not None:
            seen.append({name: value.detach().clone() for name, value in model.named_parameters()})


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_the_average_is_that_of_the_formula_for_rows_touched_often_seldom_and_never(decay):
    model, seen = tiny_model(), []
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    average = start_average(model, decay=decay)
    take_steps(model, average, [[1, 2], [1], [1, 3], [1], [2, 1], [1]], seen=seen)
    for step, weights in enumerate(seen, 1):
        d = min(decay, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * weights[name] for name in expected}
    assert (seen[-1][TABLE][3] - expected[TABLE][3]).abs().max() > 1e-4
    take_average(model, average)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-5, atol=1e-7)


def test_reading_the_average_midway_changes_neither_it_nor_the_weights():
    models = [tiny_model(), tiny_model()]
    averages = [start_average(model, decay=0.9) for model in models]
    for model, average, is_read in zip(models, averages, (False, True), strict=True):
        take_steps(model, average, [[1, 2], [1]])
        before = model.items.ids.detach().clone()
        if is_read:
            with averaged(model, average):
                assert not torch.equal(model.items.ids, before)
        assert torch.equal(model.items.ids, before)
        take_steps(model, average, [[2], [4]])
        take_average(model, average)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_a_step_writes_only_the_rows_of_the_table_that_it_moves():
    model = tiny_model()
    average = start_average(model, decay=0.9)
    take_steps(model, average, [[1, 2]])
    late = average.weights[TABLE].clone()
    average.weights[TABLE][5] = torch.nan
    take_steps(model, average, [[1]])
    assert average.weights[TABLE][5].isnan().all()
    assert torch.equal(average.weights[TABLE][2], late[2])
    assert not torch.equal(average.weights[TABLE][1], late[1])


def test_without_an_average_nothing_happens():
    model = tiny_model()
    with averaged(model, None), one_step(None, model):
        weights = model.items.ids.detach().clone()
    assert torch.equal(model.items.ids, weights)
