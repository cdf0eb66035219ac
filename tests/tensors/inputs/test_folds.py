import pytest
import torch

from crossrec_core.tensors.inputs.folds import Cut, cut_by_place, cut_by_time, keep_events, truth_of
from tests.tensors.worlds import random_columns


def rows_of(items, domains, orders=None):
    items, domains = torch.tensor(items), torch.tensor(domains)
    orders = torch.tensor(orders) if orders else torch.arange(1, items.shape[1] + 1) * (items != 0)
    ones = (items != 0).long()
    return {"item_nums": items, "domain_nums": domains, "action_nums": ones, "gap_buckets": ones,
            "event_orders": orders}  # fmt: skip


def test_a_block_of_time_is_held_out_and_what_follows_does_not_exist():
    rows = rows_of([[7, 8, 9, 6, 5, 0]], [[1, 2, 1, 2, 1, 0]], [[10, 20, 20, 30, 40, 0]])
    cut = cut_by_time(rows, start_D=torch.tensor([0, 20, 30]), end_D=torch.tensor([0, 40, 31]))
    assert cut.is_known_BL.tolist() == [[True, True, False, False, False, False]]
    assert cut.is_held_BL.tolist() == [[False, False, True, True, False, False]]


def test_known_before_held_before_what_is_left_out_for_every_block():
    rows = random_columns(50, 10)
    rows["event_orders"] = (torch.rand(50, 10).sort(dim=1).values * 1000).long() * (rows["item_nums"] != 0)
    for back in (1, 2, 3):
        start, end = torch.full((3,), 900 - 200 * back), torch.full((3,), 1100 - 200 * back)
        cut = cut_by_time(rows, start_D=start, end_D=end)
        assert not (cut.is_known_BL & cut.is_held_BL).any()
        assert (rows["event_orders"][cut.is_known_BL] < start[0]).all()
        held = rows["event_orders"][cut.is_held_BL]
        assert ((held >= start[0]) & (held < end[0])).all()
        assert len(held) > 0


def test_leave_one_out_goes_back_event_by_event_in_each_domain():
    rows = rows_of([[1, 2, 3, 4, 5, 0]], [[1, 1, 2, 1, 1, 0]])
    known = {place: cut_by_place(rows, place=place).is_known_BL.int().tolist() for place in (1, 2, 3)}
    held = {place: cut_by_place(rows, place=place).is_held_BL.int().tolist() for place in (1, 2, 3)}
    # The only event of domain 2 is the latest there: it trains at place 1 and lies ahead of the others
    assert known == {1: [[1, 1, 1, 1, 0, 0]], 2: [[1, 1, 0, 0, 0, 0]], 3: [[1, 1, 0, 0, 0, 0]]}
    assert held == {1: [[0, 0, 0, 0, 1, 0]], 2: [[0, 0, 0, 1, 0, 0]], 3: [[0, 0, 0, 0, 0, 0]]}


def test_kept_events_move_to_the_left_in_order():
    rows = rows_of([[7, 8, 9, 0]], [[1, 2, 1, 0]])
    kept = keep_events(rows, torch.tensor([[True, False, True, False]]))
    assert kept["item_nums"].tolist() == [[7, 9, 0, 0]]
    assert kept["domain_nums"].tolist() == [[1, 1, 0, 0]]
    assert kept["event_orders"].tolist() == [[1, 3, 0, 0]]


@pytest.mark.parametrize(("new_items_only", "expected"), [(True, [6, 5, 0]), (False, [7, 6, 5])])
def test_truth_is_distinct_in_order_of_the_domain_and_among_the_candidates(new_items_only, expected):
    rows = rows_of([[7, 3, 7, 6, 9, 6, 4, 5, 8, 0]], [[1, 1, 1, 1, 1, 1, 2, 1, 1, 0]])
    places = torch.arange(10)
    cut = Cut((places < 2)[None], ((places >= 2) & (places < 9))[None])
    nums_V = torch.tensor([3, 4, 5, 6, 7])  # 8 and 9 are no candidates
    truth = truth_of(rows, cut, domain_num=1, nums_V=nums_V, new_items_only=new_items_only, num_truth=3)
    assert truth.tolist() == [expected]


def test_no_more_truth_than_wanted():
    rows = rows_of([list(range(1, 13))], [[1] * 12])
    cut = Cut(torch.zeros(1, 12, dtype=torch.bool), torch.ones(1, 12, dtype=torch.bool))
    truth = truth_of(rows, cut, domain_num=1, nums_V=torch.arange(1, 13), new_items_only=True)
    assert truth.tolist() == [list(range(1, 11))]
