import math

import pytest
import torch

from crossrec_core.tensors.training.losses import (
    full_softmax,
    mix_domains,
    sampled_softmax,
    text_alignment,
    text_reconstruction,
)
from crossrec_core.tensors.training.negatives import draw_by_events, draw_places


def random_case():
    generator = torch.Generator().manual_seed(3)
    queries_PD, vectors_VD = torch.randn(6, 4, generator=generator), torch.randn(9, 4, generator=generator)
    return queries_PD, vectors_VD, torch.tensor([0, 3, 3, 8, 1, 5]), torch.arange(10, 19)


def test_sampled_softmax_with_all_candidates_as_negatives_is_the_full_softmax():
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    sampled = sampled_softmax(queries_PD, vectors_VD[places_P], vectors_VD, nums_V[places_P], nums_V)
    torch.testing.assert_close(sampled, full_softmax(queries_PD, vectors_VD, places_P))


def test_the_corrected_loss_with_all_candidates_drawn_once_is_the_full_softmax():
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    sampled = sampled_softmax(
        queries_PD, vectors_VD[places_P], vectors_VD, nums_V[places_P], nums_V,
        log_expected_K=draw_by_events(torch.ones(9), power=0.0).log_expected(torch.arange(9)),
    )  # fmt: skip
    torch.testing.assert_close(sampled, full_softmax(queries_PD, vectors_VD, places_P))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_corrected_loss_expects_the_denominator_of_the_full_softmax(power):
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    queries_PD, places_P = queries_PD[:1], places_P[:1]
    targets_PD, nums_P = vectors_VD[places_P], nums_V[places_P]
    draw = draw_by_events(torch.arange(1.0, 10.0), power=power)
    generator, found = torch.Generator().manual_seed(5), []
    for _ in range(4_000):
        places_K = draw_places(draw, 8, generator)
        loss = sampled_softmax(
            queries_PD, targets_PD, vectors_VD[places_K], nums_P, nums_V[places_K],
            log_expected_K=draw.log_expected(places_K),
        )  # fmt: skip
        found.append(loss.double().exp())  # denominator / e^(target's logit)
    found_N, expected = torch.stack(found), full_softmax(queries_PD, vectors_VD, places_P).double().exp()
    error = found_N.std() / len(found_N) ** 0.5
    assert abs(float(found_N.mean() - expected)) < 4 * float(error)
    assert float(error) < 0.05 * float(expected)


def test_a_negative_that_is_the_target_changes_nothing():
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    queries_PD, places_P = queries_PD[:1], places_P[:1]
    with_hit, without = (
        sampled_softmax(queries_PD, vectors_VD[places_P], vectors_VD[drawn], nums_V[places_P], nums_V[drawn])
        for drawn in (torch.tensor([0, 2, 4]), torch.tensor([2, 4]))
    )
    torch.testing.assert_close(with_hit, without)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [1.0, 0.75])
def test_both_softmaxes_are_torchs_with_smoothing_and_temperature(smoothing, temperature):
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    options = {"temperature": temperature, "smoothing": smoothing}
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)((queries_PD @ vectors_VD.T) / temperature, places_P)
    targets_PD, nums_P = vectors_VD[places_P], nums_V[places_P]
    torch.testing.assert_close(full_softmax(queries_PD, vectors_VD, places_P, **options), expected)
    torch.testing.assert_close(sampled_softmax(queries_PD, targets_PD, vectors_VD, nums_P, nums_V, **options), expected)


def test_a_smoothed_sampled_loss_has_finite_gradients_where_a_negative_is_the_target():
    queries_PD, vectors_VD, places_P, nums_V = random_case()
    queries_PD.requires_grad_()
    targets_PD, nums_P = vectors_VD[places_P], nums_V[places_P]
    sampled_softmax(queries_PD, targets_PD, vectors_VD, nums_P, nums_V, smoothing=0.1).backward()
    assert queries_PD.grad.isfinite().all()
    assert queries_PD.grad.any()


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, (9 * 2 + 1 * 4) / 10), (0.0, (2 + 4) / 2)])
def test_domains_are_weighed_by_their_size_and_the_temperature(temperature, expected):
    losses = {1: torch.tensor(2.0), 2: torch.tensor(4.0)}
    assert float(mix_domains(losses, {1: 9, 2: 1}, temperature=temperature)) == pytest.approx(expected)


def test_text_reconstruction_is_one_minus_the_mean_cosine():
    guesses, texts = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]]), torch.tensor([[1.0, 0.0]] * 3)
    torch.testing.assert_close(text_reconstruction(guesses, texts), torch.tensor((0.0 + 1.0 + 2.0) / 3))


def test_text_alignment_is_the_cross_entropy_both_ways():
    ids, texts = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # logits [[2, 2], [0, 0]]: rows cannot tell the texts apart, the first text finds its item, the second the other one
    rows, columns = math.log(2), (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    found = text_alignment(ids, texts, temperature=0.5)
    torch.testing.assert_close(found, torch.tensor((rows + columns) / 2))
