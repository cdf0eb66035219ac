"""Maps of several domains: whose data they follow."""

import pytest
import torch

from crossrec_core.tensors.calibration import HALF_OWN, Held, Platt, calibrate_together, fit_platt


def held_of(num_pairs, *, slope, offset, seed=0):
    """Pairs whose logits would have to be moved by slope and offset."""
    generator = torch.Generator().manual_seed(seed)
    logits_P = 2 * torch.randn(num_pairs, generator=generator).double()
    truth_P = torch.sigmoid(slope * logits_P + offset)
    return Held(logits_P, (torch.rand(num_pairs, generator=generator) < truth_P).double())


def test_a_known_map_is_found():
    found = fit_platt(held_of(20_000, slope=0.5, offset=-1.0))
    assert (found.slope, found.offset) == pytest.approx((0.5, -1.0), abs=0.05)


def test_a_domain_with_many_pairs_keeps_its_own_map_and_one_with_few_takes_the_common_one():
    large, small = held_of(40_000, slope=1.0, offset=0.0), held_of(100, slope=1.0, offset=2.0, seed=1)
    found = calibrate_together({"large": large, "small": small})
    own = fit_platt(small)
    assert found["large"].offset == pytest.approx(0.0, abs=0.05)
    assert own.offset > 1
    assert found["small"].offset == pytest.approx(100 / (100 + HALF_OWN) * own.offset, abs=0.05)


def test_as_many_pairs_as_half_own_meet_halfway():
    first, second = (held_of(HALF_OWN, slope=1.0, offset=offset, seed=3) for offset in (-1.0, 1.0))
    whole = fit_platt(Held(*(torch.cat([vars(first)[name], vars(second)[name]]) for name in vars(first))))
    found = calibrate_together({"a": first, "b": second})["a"]
    assert found.offset == pytest.approx((fit_platt(first).offset + whole.offset) / 2)


def test_a_domain_without_pairs_takes_the_common_map_and_alone_stays_as_it_is():
    nothing = Held(torch.empty(0).double(), torch.empty(0).double())
    large = held_of(5_000, slope=0.5, offset=1.0)
    assert calibrate_together({"none": nothing, "large": large})["none"] == fit_platt(large)
    assert calibrate_together({"none": nothing}) == {"none": Platt(1.0, 0.0)}


def test_one_domain_alone_has_its_own_map():
    held = held_of(500, slope=2.0, offset=0.5)
    alone, own = calibrate_together({"a": held})["a"], fit_platt(held)
    assert (alone.slope, alone.offset) == pytest.approx((own.slope, own.offset))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_label_only_gives_no_map(label):
    assert fit_platt(Held(torch.randn(200).double(), torch.full((200,), label).double())) is None
