import copy

import pytest
import torch
from torch.optim import SparseAdam

from crossrec_core.tensors.training.lazy_adam import LazyAdam

BETAS = (0.9, 0.98)


def sparse_rows(nums, values, num_rows):
    indices = torch.tensor(nums, dtype=torch.int64).unsqueeze(0)
    return torch.sparse_coo_tensor(indices, values, (num_rows, values.shape[1]), check_invariants=True)


def train(make, *, steps=12, lr=0.05):
    """A table of 30 rows after steps that touch some rows, some of them twice."""
    generator = torch.Generator().manual_seed(3)
    table_ID = torch.randn(30, 4, generator=generator).requires_grad_()
    optimiser = make([table_ID], lr=lr, betas=BETAS)
    for _ in range(steps):
        nums = torch.randint(0, 20, (15,), generator=generator)
        wanted = torch.randn(15, 4, generator=generator)
        loss = (torch.nn.functional.embedding(nums, table_ID, sparse=True) - wanted).square().sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return table_ID.detach().clone(), optimiser


def test_it_takes_the_steps_of_torchs_sparse_adam():
    torch.testing.assert_close(train(LazyAdam)[0], train(SparseAdam)[0], rtol=1e-5, atol=1e-5)


def test_rows_without_a_gradient_stay_bit_for_bit():
    start, _ = train(LazyAdam, steps=0)
    end, _ = train(LazyAdam)
    assert torch.equal(start[20:], end[20:])
    assert (start[:20] != end[:20]).any(dim=1).all()


def test_a_gradient_without_rows_changes_nothing():
    table_ID = torch.randn(5, 2).requires_grad_()
    table_ID.grad = sparse_rows([], torch.zeros(0, 2), 5)
    before = table_ID.detach().clone()
    LazyAdam([table_ID], lr=0.1).step()
    assert torch.equal(table_ID.detach(), before)


def test_a_saved_state_goes_on_where_it_was():
    table_ID, optimiser = train(LazyAdam)
    copy_ID = table_ID.clone()
    loaded = LazyAdam([copy_ID], lr=0.05, betas=BETAS)
    loaded.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    own_ID = optimiser.param_groups[0]["params"][0]
    for values_ID, each in ((own_ID, optimiser), (copy_ID, loaded)):
        values_ID.grad = sparse_rows([1, 2], torch.ones(2, 4), 30)
        each.step()
    assert torch.equal(own_ID, copy_ID)
    assert (own_ID[1:3] != table_ID[1:3]).all()


@pytest.mark.parametrize("lr", [0.0, 1e-3])
def test_the_learning_rate_of_the_group_rules(lr):
    start, _ = train(LazyAdam, steps=0)
    table_ID, _ = train(LazyAdam, steps=1, lr=lr)
    assert float((table_ID - start).abs().max()) == pytest.approx(lr, rel=1e-3)
