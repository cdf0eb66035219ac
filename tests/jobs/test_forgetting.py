"""From when on training forgets, and where it does not."""

from dataclasses import replace

import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.config import read_config
from jobs.forgetting import read_forgetting
from jobs.training import read_training_batches
from tests.jobs.test_folds import SETTINGS, ground_of, write_users


@pytest.fixture
def made(tmp_path):
    """Settings that forget, the ground they forget on, and its rows."""
    rows = write_users(tmp_path)
    (tmp_path / "x.toml").write_text(SETTINGS)
    settings = read_config(tmp_path / "x.toml", overrides={"train": {"event_half_life_days": 5.0}})
    return settings, ground_of(tmp_path, rows), rows


def with_domain(settings, name, **changes):
    return replace(settings, domains={**settings.domains, name: replace(settings.domains[name], **changes)})


def test_each_domain_forgets_from_its_own_latest_event(made):
    settings, ground, rows = made
    found = read_forgetting(settings, ground)
    expected = [int(rows[c.EVENT_ORDERS][rows["domain_nums"] == number].max()) for number in (1, 2)]
    assert found.half_life_days == 5.0
    assert found.last_D.tolist() == [0, *expected]


def test_order_only_domains_and_other_splits_forget_nothing(made):
    settings, ground, _ = made
    assert read_forgetting(with_domain(settings, "thin", time_unit="order"), ground).last_D.tolist()[2] == 0
    assert read_forgetting(replace(settings, split=replace(settings.split, protocol="leave_one_out")), ground) is None
    assert read_forgetting(replace(settings, train=replace(settings.train, event_half_life_days=0.0)), ground) is None


def test_an_epoch_draws_its_targets_anew_and_the_same_again(made):
    settings, ground, _ = made
    forgetting = read_forgetting(settings, ground)

    def targets(epoch, how):
        batches = read_training_batches(settings, ground, settings.train.pretrain, dict, epoch, how)
        return torch.cat([batch.target_items_BL.flatten() for batch in batches])

    num_events = [int((targets(epoch, forgetting) != 0).sum()) for epoch in (1, 2)]
    all_events = int((targets(1, None) != 0).sum())
    assert 0 < max(num_events) < all_events / 2
    assert torch.equal(targets(1, forgetting), targets(1, forgetting))
    assert not torch.equal(targets(1, forgetting), targets(2, forgetting))
