import torch

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, to_batch
from crossrec_core.tensors.inputs.masking import MASK_ITEM, append_mask, mask_batch
from tests.tensors.worlds import random_columns

BOTH = torch.tensor([1, 2])


def masked(columns, *, domains=BOTH, share=0.4, last_share=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = to_batch(columns)
    return batch, mask_batch(batch, domains, mask_share=share, mask_last_share=last_share, generator=generator)


def test_targets_are_the_hidden_items_and_nothing_else_of_them_is_left():
    batch, hidden = masked(random_columns(200, 8))
    is_hidden = hidden.items_BL == MASK_ITEM
    assert is_hidden.any()
    assert torch.equal(hidden.target_items_BL, batch.items_BL * is_hidden)
    assert torch.equal(hidden.target_domains_BL, batch.domains_BL * is_hidden)
    for values in (hidden.domains_BL, hidden.actions_BL, hidden.gaps_BL):
        assert not values[is_hidden].any()


def test_events_that_are_shown_are_untouched():
    batch, hidden = masked(random_columns(200, 8))
    is_shown = hidden.items_BL > 0
    for name in ("items_BL", "domains_BL", "actions_BL", "gaps_BL", "orders_BL"):
        assert torch.equal(getattr(hidden, name)[is_shown], getattr(batch, name)[is_shown])


def test_the_share_of_hidden_events_is_the_one_asked_for():
    columns = {name: values[:, :] for name, values in random_columns(4000, 8).items()}
    full = (columns["item_nums"] != 0).all(dim=1)
    _, hidden = masked({name: values[full] for name, values in columns.items()}, share=0.4, last_share=0.0)
    assert abs(float((hidden.items_BL == MASK_ITEM).float().mean()) - 0.4) < 0.03


def test_a_last_row_hides_its_last_event_of_the_domain_and_cuts_off_what_follows():
    columns = random_columns(300, 8)
    batch, hidden = masked(columns, domains=torch.tensor([2]), last_share=1.0)
    for row in range(len(batch.items_BL)):
        wanted = torch.nonzero(batch.domains_BL[row] == 2).flatten().tolist()
        if wanted:
            expected = batch.items_BL[row].tolist()[: wanted[-1]] + [MASK_ITEM]
            assert hidden.items_BL[row].tolist() == expected + [0] * (batch.items_BL.shape[1] - len(expected))
        assert int((hidden.items_BL[row] == MASK_ITEM).sum()) == bool(wanted)


def test_no_other_domain_is_hidden():
    batch, hidden = masked(random_columns(300, 8), domains=torch.tensor([2]))
    assert (batch.domains_BL[hidden.items_BL == MASK_ITEM] == 2).all()


def test_a_hidden_event_has_the_time_of_the_event_shown_before_it():
    columns = {name: torch.tensor([[5, 6, 7, 8]]) for name in SEQUENCE_COLUMNS}
    columns["domain_nums"] = torch.tensor([[1, 2, 2, 1]])
    _, hidden = masked(columns, domains=torch.tensor([2]), share=1.0, last_share=0.0)
    assert hidden.items_BL.tolist() == [[5, MASK_ITEM, MASK_ITEM, 8]]
    assert hidden.orders_BL.tolist() == [[5, 5, 5, 8]]


def test_scoring_asks_with_a_hidden_event_after_the_last_one():
    rows = [torch.tensor([[5, 6, 0], [0, 0, 0], [7, 8, 9]]) for _ in SEQUENCE_COLUMNS]
    items, domains, actions, gaps, orders = append_mask(rows)
    assert items.tolist() == [[5, 6, MASK_ITEM, 0], [MASK_ITEM, 0, 0, 0], [7, 8, 9, MASK_ITEM]]
    assert domains.tolist() == actions.tolist() == gaps.tolist() == [[5, 6, 0, 0], [0, 0, 0, 0], [7, 8, 9, 0]]
    assert orders.tolist() == [[5, 6, 6, 0], [0, 0, 0, 0], [7, 8, 9, 9]]
