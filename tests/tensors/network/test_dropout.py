import pytest
import torch

from crossrec_core.tensors.network.dropout import Dropout

SHAPE = (400, 7, 33)  # not a multiple of what one draw makes


@pytest.mark.parametrize("share", [0.001, 0.2, 0.9])
def test_the_share_is_left_out_and_the_mean_stays(share):
    torch.manual_seed(1)
    kept = Dropout(share)(torch.ones(SHAPE))
    error = (share * (1 - share) / kept.numel()) ** 0.5
    assert float((kept == 0).double().mean()) == pytest.approx(share, abs=5 * error)
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - share)])


def test_neighbours_and_calls_are_left_out_independently():
    torch.manual_seed(2)
    dropout = Dropout(0.5)
    first, second = ((dropout(torch.ones(1, 60_000)) == 0).double() for _ in range(2))
    assert float((first * second).mean()) == pytest.approx(0.25, abs=0.01)
    for distance in (1, 2, 3, 4, 5):  # within what one draw makes, and beyond
        assert float((first[:, distance:] * first[:, :-distance]).mean()) == pytest.approx(0.25, abs=0.01)


def test_gradients_pass_where_numbers_do():
    x = torch.randn(SHAPE, requires_grad=True)
    torch.manual_seed(3)
    Dropout(0.3)(x).sum().backward()
    torch.manual_seed(3)
    torch.testing.assert_close(x.grad * x.detach(), Dropout(0.3)(x.detach()))


def test_the_seed_decides_and_half_precision_stays():
    dropout, x = Dropout(0.3), torch.ones(SHAPE, dtype=torch.bfloat16)
    torch.manual_seed(4)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(4)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)
    assert first.dtype == torch.bfloat16


def test_nothing_is_drawn_outside_training_or_at_zero():
    x, state = torch.randn(SHAPE), torch.get_rng_state()
    assert torch.equal(Dropout(0.3).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state)
