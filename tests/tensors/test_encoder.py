import pytest
import torch
from torch.nn import functional as F

from crossrec_core.tensors.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.encoder import attention
from tests.tensors.worlds import parity_columns, random_columns, tiny_model


def events_of(columns):
    return [columns[name] for name in SEQUENCE_COLUMNS]


def test_padding_changes_no_output():
    model = tiny_model()
    events = events_of(parity_columns(4, 5))
    padded = [F.pad(values, (0, 3)) for values in events]
    torch.testing.assert_close(model(*padded)[:, :5], model(*events))


def test_what_stands_in_padded_positions_changes_no_output_before():
    model = tiny_model()
    events = events_of(parity_columns(4, 5))
    padded, junk = ([F.pad(values, (0, 3), value=value) for values in events] for value in (0, 2))
    torch.testing.assert_close(model(*padded)[:, :5], model(*junk)[:, :5])


@pytest.mark.parametrize("changed_at", [1, 4, 7])
def test_changing_an_item_changes_no_output_before_it(changed_at):
    model = tiny_model()
    events = events_of(parity_columns(4, 8))
    before = model(*events)
    events[0] = events[0].clone()
    events[0][:, changed_at] = 20 - events[0][:, changed_at] + 1
    after = model(*events)
    torch.testing.assert_close(after[:, :changed_at], before[:, :changed_at])
    assert not torch.allclose(after[:, changed_at], before[:, changed_at])


def test_order_of_the_events_matters():
    # One block over the same events reversed: without positions the last event would see the same set.
    model = tiny_model(layers=1)
    columns = parity_columns(1, 4)
    columns["item_nums"] = torch.tensor([[1, 2, 3, 4]])
    columns["domain_nums"] = torch.ones(1, 4, dtype=torch.long)
    swapped = {**columns, "item_nums": torch.tensor([[2, 1, 3, 4]])}
    with torch.no_grad():
        torch.nn.init.normal_(model.items.ids, std=1.0)
    assert not torch.allclose(model(*events_of(columns))[:, -1], model(*events_of(swapped))[:, -1], atol=1e-5)


def test_explicit_attention_equals_the_fused_one_and_has_a_second_derivative():
    q, k, v = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attention(q, k, v, second_order=True), attention(q, k, v))
    inputs = tuple(value[:1, :1, :3].clone().requires_grad_() for value in (q, k, v))
    assert torch.autograd.gradgradcheck(lambda *qkv: attention(*qkv, second_order=True), inputs)


def test_last_query_reads_the_last_event_of_each_row():
    model = tiny_model()
    columns = random_columns(6, 5, seed=3)
    queries_BD = model.last_query(*events_of(columns), target_domain=2)
    for row in range(6):
        length = max(int((columns["item_nums"][row] != 0).sum()), 1)
        alone = model(*[values[row : row + 1, :length] for values in events_of(columns)])[:, -1]
        torch.testing.assert_close(queries_BD[row : row + 1], model.query(alone, torch.tensor([2])))


def test_unknown_large_gaps_share_the_last_bucket():
    model = tiny_model()
    events = events_of(parity_columns(2, 4))
    huge = [*events[:3], torch.full_like(events[3], 99)]
    largest = [*events[:3], torch.full_like(events[3], 8)]
    torch.testing.assert_close(model(*huge), model(*largest))
