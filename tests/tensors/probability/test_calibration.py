"""Maps of several domains: whose data they follow."""

import pytest
import torch

from crossrec_core.tensors.probability.calibration import HALF_OWN, Held, Platt, calibrate_together, fit_platt


def held_of(num_pairs, *, slope, offset, seed=0, num_users=None):
    """Pairs whose logits would have to be moved by slope and offset; one of each user unless told."""
    generator = torch.Generator().manual_seed(seed)
    logits_P = 2 * torch.randn(num_pairs, generator=generator).double()
    truth_P = torch.sigmoid(slope * logits_P + offset)
    labels_P = (torch.rand(num_pairs, generator=generator) < truth_P).double()
    return Held(logits_P, labels_P, num_pairs if num_users is None else num_users)


def own_map(held):
    return fit_platt(held.logits_P, held.labels_P)


def test_a_known_map_is_found():
    found = own_map(held_of(20_000, slope=0.5, offset=-1.0))
    assert (found.slope, found.offset) == pytest.approx((0.5, -1.0), abs=0.05)


def test_a_domain_with_many_users_keeps_its_own_map_and_one_with_few_takes_the_common_one():
    large, small = held_of(40_000, slope=1.0, offset=0.0), held_of(100, slope=1.0, offset=2.0, seed=1)
    found = calibrate_together({"large": large, "small": small})
    own = own_map(small)
    assert found["large"].offset == pytest.approx(0.0, abs=0.05)
    assert own.offset > 1
    assert found["small"].offset == pytest.approx(100 / (100 + HALF_OWN) * own.offset, abs=0.05)


def test_as_many_users_as_half_own_meet_halfway():
    first, second = (held_of(HALF_OWN, slope=1.0, offset=offset, seed=3) for offset in (-1.0, 1.0))
    whole = fit_platt(*(torch.cat([vars(first)[name], vars(second)[name]]) for name in ("logits_P", "labels_P")))
    common = 2 / 3 * whole.offset  # of twice as many users, the rest of the identity
    found = calibrate_together({"a": first, "b": second})["a"]
    assert found.offset == pytest.approx((own_map(first).offset + common) / 2)


def test_many_pairs_of_few_users_move_little():
    many, few = (held_of(9_000, slope=0.5, offset=2.0, num_users=users) for users in (9_000, 9))
    assert calibrate_together({"a": many})["a"].offset == pytest.approx(2.0, abs=0.1)
    assert calibrate_together({"a": few})["a"].offset == pytest.approx(0.0, abs=0.15)


def test_a_domain_without_pairs_takes_the_common_map_and_alone_stays_as_it_is():
    nothing = Held(torch.empty(0).double(), torch.empty(0).double(), 0)
    large = held_of(HALF_OWN, slope=0.5, offset=1.0)
    common, own = calibrate_together({"none": nothing, "large": large})["none"], own_map(large)
    assert (common.slope, common.offset) == pytest.approx(((own.slope + 1) / 2, own.offset / 2))
    assert calibrate_together({"none": nothing}) == {"none": Platt(1.0, 0.0)}


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_label_only_gives_no_map(label):
    assert fit_platt(torch.randn(200).double(), torch.full((200,), label).double()) is None
