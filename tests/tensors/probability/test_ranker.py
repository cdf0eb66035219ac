from math import exp, log

import torch

from crossrec_core.tensors.probability.calibration import calibrate_together
from crossrec_core.tensors.probability.ranker import (
    NUM_FOLDS,
    fit_ranker,
    fold_of,
    half_of,
    listed_probability,
    load_ranker,
    pair_features,
    probability,
    recalibrate,
    save_ranker,
)


def logistic_world(num_pairs=4_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    phi_PF = torch.cat((torch.randn(num_pairs, 3, generator=generator), torch.ones(num_pairs, 1)), dim=1).double()
    truth_P = torch.sigmoid(phi_PF @ torch.tensor([1.5, -1.0, 0.0, -0.5]).double())
    labels_P = (torch.rand(num_pairs, generator=generator) < truth_P).long()
    return phi_PF, labels_P, torch.arange(num_pairs), truth_P


def test_a_known_logistic_is_recovered():
    phi_PF, labels_P, groups_P, truth_P = logistic_world()
    ranker = fit_ranker(phi_PF, labels_P, groups_P, l2=0.1)
    recovered_F = ranker.slope * ranker.weights_F / ranker.scale_F
    torch.testing.assert_close(recovered_F[:3], torch.tensor([1.5, -1.0, 0.0]).double(), atol=0.15, rtol=0)
    assert float((probability(ranker, phi_PF) - truth_P).abs().mean()) < 0.03


def test_everyone_calibrates_under_weights_of_other_users():
    phi_PF, labels_P, _, _ = logistic_world(600)
    groups_P = torch.arange(600) // 3
    held = fit_ranker(phi_PF, labels_P, groups_P).held
    assert (len(held.labels_P), held.num_users) == (600, 200)
    own_P = fold_of(groups_P, NUM_FOLDS) == 2
    assert bool(own_P.any())
    others = fit_ranker(phi_PF[~own_P], labels_P[~own_P], groups_P[~own_P])
    expected_P = (phi_PF[own_P] - others.mean_F) / others.scale_F @ others.weights_F
    torch.testing.assert_close(held.logits_P[own_P], expected_P)


def test_weights_that_fit_noise_are_made_less_sure():
    generator = torch.Generator().manual_seed(1)
    phi_PF = torch.cat((torch.randn(1_200, 60, generator=generator), torch.ones(1_200, 1)), dim=1).double()
    ranker = fit_ranker(phi_PF, (torch.rand(1_200, generator=generator) < 0.5).long(), torch.arange(1_200), l2=0.1)
    assert ranker.slope < 0.5


def test_too_few_pairs_are_left_uncalibrated():
    phi_PF, labels_P, groups_P, _ = logistic_world(40)
    ranker = fit_ranker(phi_PF, labels_P, groups_P)
    assert (ranker.slope, ranker.offset) == (1.0, 0.0)


def test_one_label_only_gives_a_finite_probability():
    phi_PF, _, groups_P, _ = logistic_world(200)
    ranker = fit_ranker(phi_PF, torch.zeros(200), groups_P)
    assert float(probability(ranker, phi_PF).max()) < 0.1


def test_users_fall_into_folds_of_about_equal_size():
    assert abs(float(half_of(torch.arange(1, 10_001)).double().mean()) - 0.5) < 0.03
    for num_users in (200, 10_000):
        shares = torch.bincount(fold_of(torch.arange(1, num_users + 1), NUM_FOLDS)) * NUM_FOLDS / num_users
        torch.testing.assert_close(shares, torch.ones(NUM_FOLDS), atol=0.2, rtol=0)


def test_a_saved_ranker_gives_the_same_probabilities(tmp_path):
    phi_PF, labels_P, groups_P, _ = logistic_world(400)
    ranker = fit_ranker(phi_PF, labels_P, groups_P)
    assert load_ranker(tmp_path) is None
    save_ranker(tmp_path, ranker)
    assert torch.equal(probability(load_ranker(tmp_path), phi_PF), probability(ranker, phi_PF))


def test_features_are_written_out():
    phi_PF = pair_features(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([0.0]), torch.tensor([3]),
        torch.tensor([True]),
    )  # fmt: skip
    expected = torch.tensor([[1.0, 50**-0.5, 5**0.5, 10**0.5, log(1e-6), log(4.0), 1.0, 1.0]]).double()
    torch.testing.assert_close(phi_PF, expected)


def test_likes_stand_before_the_intercept():
    nothing = torch.zeros(1, 4)
    others = torch.tensor([0.1]), torch.tensor([0]), torch.tensor([True])
    phi_PF = pair_features(nothing, nothing, *others, torch.tensor([[0.5, -0.25]]).double())
    assert phi_PF[0, -3:].tolist() == [0.5, -0.25, 1.0]
    none_PF = pair_features(nothing, nothing, *others, torch.empty(1, 0).double())
    assert torch.equal(none_PF, pair_features(nothing, nothing, *others))


def test_features_do_not_change_with_a_rotation():
    generator = torch.Generator().manual_seed(0)
    queries_PD, vectors_PD, turn_DD = (torch.randn(6, 6, generator=generator).double() for _ in range(3))
    turn_DD = torch.linalg.qr(turn_DD).Q
    others = torch.rand(6, generator=generator), torch.arange(6), torch.zeros(6, dtype=torch.bool)
    turned = pair_features(queries_PD @ turn_DD, vectors_PD @ turn_DD, *others)
    torch.testing.assert_close(turned, pair_features(queries_PD, vectors_PD, *others))


def test_an_item_without_a_vector_has_finite_features():
    nothing = torch.zeros(1, 4)
    phi_PF = pair_features(nothing, nothing, torch.tensor([0.1]), torch.tensor([0]), torch.tensor([True]))
    assert phi_PF.isfinite().all()


def test_domains_may_be_calibrated_anew_from_what_a_saved_ranker_holds(tmp_path):
    phi_PF, labels_P, groups_P, _ = logistic_world(2_000)
    ranker = fit_ranker(phi_PF, labels_P, groups_P, negatives_per_positive=4)
    save_ranker(tmp_path, ranker)
    loaded = load_ranker(tmp_path)
    assert loaded.sampling == ranker.sampling
    again = calibrate_together({"a": loaded.held})["a"]
    assert (again.slope, again.offset) == (ranker.slope, ranker.offset)


def test_listed_probabilities_are_corrected_for_sampling_and_only_then():
    phi_PF, labels_P, groups_P, _ = logistic_world(400)
    read_off, drawn = (fit_ranker(phi_PF, labels_P, groups_P, negatives_per_positive=n) for n in (0, 4))
    probability_P, shares_P = probability(drawn, phi_PF), torch.full((400,), 0.001)
    assert torch.equal(probability(read_off, phi_PF), probability_P)
    assert torch.equal(listed_probability(read_off, probability_P, shares_P, 1_000), probability_P)
    rate = 1 - exp(-4 * float(labels_P.double().mean()) / 1_000)
    expected_P = probability_P * rate / (probability_P * rate + 1 - probability_P)
    torch.testing.assert_close(listed_probability(drawn, probability_P, shares_P, 1_000), expected_P)


def test_rankers_of_several_domains_are_calibrated_together_in_their_folders(tmp_path):
    fits, folders = {}, {}
    for seed, (domain, num_pairs) in enumerate({"rich": 8_000, "thin": 400}.items()):
        phi_PF, labels_P, groups_P, _ = logistic_world(num_pairs, seed=seed)
        fits[domain], folders[domain] = fit_ranker(phi_PF, labels_P, groups_P), str(tmp_path / domain)
        (tmp_path / domain).mkdir()
        save_ranker(tmp_path / domain, fits[domain])
    recalibrate({**folders, "none": str(tmp_path / "none")})
    found = {domain: load_ranker(tmp_path / domain) for domain in fits}
    expected = calibrate_together({domain: ranker.held for domain, ranker in fits.items()})
    for domain, ranker in found.items():
        assert (ranker.slope, ranker.offset) == (expected[domain].slope, expected[domain].offset)
        assert torch.equal(ranker.weights_F, fits[domain].weights_F)
        assert sorted(file.name for file in (tmp_path / domain).iterdir()) == ["ranker.json", "ranker.safetensors"]
    assert found["thin"].slope != fits["thin"].slope
    recalibrate(folders)
    assert load_ranker(tmp_path / "thin").slope == found["thin"].slope


def test_a_calibration_is_written_to_any_store(tmp_path):
    from fsspec import filesystem

    phi_PF, labels_P, groups_P, _ = logistic_world(400)
    save_ranker(tmp_path, fit_ranker(phi_PF, labels_P, groups_P))
    store = filesystem("memory")
    store.put(f"{tmp_path}/", "/lake/r/", recursive=True)
    store.pipe_file("/lake/r/ranker.json", store.cat("/lake/r/ranker.json").replace(b'"slope"', b'"slope" '))
    recalibrate({"a": "memory://lake/r"})
    assert store.cat("/lake/r/ranker.json").decode() == (tmp_path / "ranker.json").read_text()
