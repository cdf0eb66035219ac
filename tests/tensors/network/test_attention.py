"""Both attentions against the formulas written out, and their second derivatives."""

import math

import pytest
import torch

from crossrec_core.tensors.network.attention import attention, pointwise_attention, rotate


def draw(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def options(length):
    bias = draw(2, 2, length, length, seed=2)
    both_ways = torch.ones(2, 1, length, length, dtype=torch.bool)
    both_ways[1, ..., -1] = False
    both_ways |= torch.eye(length, dtype=torch.bool)
    return [{}, {"bias": bias}, {"allowed": both_ways}, {"bias": bias, "allowed": both_ways}]


@pytest.mark.parametrize("option", range(4))
def test_explicit_attention_equals_the_fused_one_and_has_a_second_derivative(option):
    q, k, v = draw(3, 2, 2, 5, 4)
    chosen = options(5)[option]
    explicit = attention(q, k, v, second_order=True, **chosen)
    torch.testing.assert_close(explicit, attention(q, k, v, **chosen))
    inputs = tuple(value[:, :1, :3].clone().requires_grad_() for value in (q, k, v))
    small = {name: value[:, :1, :3, :3] for name, value in chosen.items()}
    assert torch.autograd.gradgradcheck(lambda *qkv: attention(*qkv, second_order=True, **small), inputs)


def test_a_bias_moves_weight_to_the_keys_it_favours_and_none_to_later_ones():
    q, k = torch.zeros(2, 1, 1, 3, 4)
    v = torch.eye(3, 4).view(1, 1, 3, 4)
    bias = torch.zeros(1, 1, 3, 3)
    bias[..., 0] = torch.log(torch.tensor(3.0))
    weights = attention(q, k, v, bias=bias)[0, 0, :, :3]
    torch.testing.assert_close(weights, torch.tensor([[1, 0, 0], [3 / 4, 1 / 4, 0], [3 / 5, 1 / 5, 1 / 5]]))


def test_pointwise_attention_is_silu_of_the_scaled_product_and_adds_up():
    q, k, v = draw(3, 1, 1, 4, 3)
    mixed = pointwise_attention(q, k, v)[0, 0]
    for place in range(4):
        logits = k[0, 0, : place + 1] @ q[0, 0, place] / 3**0.5
        expected = (logits * torch.sigmoid(logits)) @ v[0, 0, : place + 1]
        torch.testing.assert_close(mixed[place], expected)


@pytest.mark.parametrize("option", range(4))
def test_pointwise_attention_has_a_second_derivative_and_leaves_out_what_is_not_allowed(option):
    chosen = {name: value[:, :1, :3, :3] for name, value in options(3)[option].items()}
    inputs = tuple(value[:, :1].requires_grad_() for value in draw(3, 2, 2, 3, 4))
    assert torch.autograd.gradgradcheck(lambda *qkv: pointwise_attention(*qkv, **chosen), inputs)
    q, k, v = inputs
    last = 2 if "allowed" in chosen else 0  # the position that must not see key 2, of row 1
    changed = torch.cat((v[:, :, :2], v[:, :, 2:] + 1), dim=2)
    before, after = pointwise_attention(q, k, v, **chosen), pointwise_attention(q, k, changed, **chosen)
    seen = 1 if last else 0
    torch.testing.assert_close(after[1, :, seen], before[1, :, seen])


@pytest.mark.parametrize("width", [7, 8])
def test_rotation_leaves_products_to_the_distance_alone(width):
    x = draw(1, 1, 1, width).expand(1, 6, 1, width)
    turned = rotate(x)[0, :, 0]
    products = turned @ turned.T
    torch.testing.assert_close(products[0, 2], products[3, 5])
    assert not torch.allclose(products[0, 2], products[0, 3])


def test_heads_are_rotated_alike_and_pairs_by_the_written_formula():
    x_BLHE = draw(2, 5, 3, 4)
    turned_BLHE = rotate(x_BLHE)
    for head in range(3):
        torch.testing.assert_close(turned_BLHE[:, :, head], rotate(x_BLHE[:, :, head : head + 1])[:, :, 0])
    for place in range(5):
        for pair, speed in enumerate((1.0, 1 / 100)):
            x, y = x_BLHE[0, place, 0, pair], x_BLHE[0, place, 0, pair + 2]
            cos, sin = math.cos(place * speed), math.sin(place * speed)
            torch.testing.assert_close(turned_BLHE[0, place, 0, pair], x * cos - y * sin)
            torch.testing.assert_close(turned_BLHE[0, place, 0, pair + 2], x * sin + y * cos)
