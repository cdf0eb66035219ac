"""How often an old event is something to predict."""

from dataclasses import fields

import pytest
import torch

from crossrec_core.tensors.inputs.batches import Batch, to_batch
from crossrec_core.tensors.inputs.forgetting import DAY_US, Forgetting, forget
from tests.tensors.worlds import random_columns

LAST_DAY = 1000
HOW = Forgetting(half_life_days=10.0, last_D=torch.tensor([0, LAST_DAY * DAY_US, 0]))


def batch_of(days: list[int], *, domain: int, rows: int) -> Batch:
    """Rows of an event each day; the first one is nobody's target."""
    orders = torch.tensor([days] * rows) * DAY_US
    ones = torch.ones_like(orders)
    columns = {"item_nums": ones * 7, "domain_nums": ones * domain, "action_nums": ones, "gap_buckets": ones}
    return to_batch({**columns, "event_orders": orders})


def test_an_event_is_a_target_with_the_probability_of_its_age() -> None:
    ages = [40, 20, 10, 0]
    batch = batch_of([1, *(LAST_DAY - age for age in ages)], domain=1, rows=20_000)
    found = forget(batch, HOW, torch.Generator().manual_seed(1))
    shares = (found.target_items_BL != 0).double().mean(dim=0).tolist()
    assert shares == pytest.approx([0.5 ** (age / 10) for age in ages] + [0.0], abs=0.015)
    assert torch.equal(found.target_items_BL != 0, found.target_domains_BL != 0)
    assert set(found.target_items_BL.unique().tolist()) == {0, 7}


def test_a_domain_without_times_and_events_of_later_days_are_all_kept() -> None:
    for batch in (batch_of([1, 2, 3], domain=2, rows=50), batch_of([1, LAST_DAY + 1, LAST_DAY + 9], domain=1, rows=50)):
        found = forget(batch, HOW, torch.Generator().manual_seed(1))
        assert all(torch.equal(getattr(found, each.name), getattr(batch, each.name)) for each in fields(Batch))


def test_inputs_stay_whole_and_padding_stays_padding() -> None:
    batch = to_batch(random_columns(200, 8, seed=3))
    how = Forgetting(1.0, torch.full((3,), int(batch.orders_BL.max())))
    found = forget(batch, how, torch.Generator().manual_seed(1))
    for name in ("items_BL", "domains_BL", "actions_BL", "gaps_BL", "orders_BL"):
        assert torch.equal(getattr(found, name), getattr(batch, name))
    is_kept = found.target_items_BL != 0
    assert 0 < int(is_kept.sum()) < int((batch.target_items_BL != 0).sum()) / 2
    assert torch.equal(found.target_items_BL[is_kept], batch.target_items_BL[is_kept])
