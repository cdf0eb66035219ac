import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.meta_learning.tasks import (
    Cut,
    crop,
    cut_at_end,
    draw_cuts,
    draw_task_negatives,
    forget_earlier,
    keep_latest,
    keep_rows_of,
    query_pairs,
    support_pairs,
    truth_pairs,
)

L = 12


def make_columns(num_rows: int = 400, *, seed: int = 0, num_times: int = 30) -> dict[str, Tensor]:
    """Rows of 0 to L events of two domains, in time order, many of them at the same time."""
    generator = torch.Generator().manual_seed(seed)
    is_event = torch.arange(L) < torch.randint(0, L + 1, (num_rows, 1), generator=generator)
    domains = torch.randint(1, 3, (num_rows, L), generator=generator)
    items = torch.randint(1, 11, (num_rows, L), generator=generator) + 10 * (domains - 1)
    orders = torch.randint(1, num_times + 1, (num_rows, L), generator=generator).sort(dim=1).values
    values = dict(zip(SEQUENCE_COLUMNS, (items, domains, domains, domains, orders), strict=True))
    return {name: value * is_event for name, value in values.items()}


def draw(columns: dict[str, Tensor], sizes: tuple[int, ...] = (0, 1, 2, 3, 5), *, num_query: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return draw_cuts(columns, 1, support_sizes=sizes, num_query=num_query, generator=generator)


def test_everything_known_happened_strictly_before_the_query() -> None:
    rows = keep_rows_of(make_columns(), 1)
    cut = draw(rows)
    orders = rows[c.EVENT_ORDERS]
    first_query_R1 = orders.gather(1, cut.query_RQ[:, :1])
    is_known_RL = torch.arange(L) < cut.known_R.unsqueeze(1)
    assert (orders < first_query_R1)[is_known_RL].all()
    assert (orders >= first_query_R1)[~is_known_RL & (rows["item_nums"] != 0)].all()
    assert (orders.gather(1, cut.support_RK) < first_query_R1)[cut.has_support_RK].all()
    assert cut.has_query_RQ[:, 0].all()


def test_support_and_query_are_neighbouring_events_of_the_domain_in_order() -> None:
    rows = keep_rows_of(make_columns(), 1)
    cut = draw(rows)
    for at in range(len(cut.known_R)):
        own = torch.nonzero(rows["domain_nums"][at] == 1).flatten()
        support, query = cut.support_RK[at][cut.has_support_RK[at]], cut.query_RQ[at][cut.has_query_RQ[at]]
        joined = torch.cat((support, query))
        start = own.tolist().index(int(joined[0]))
        assert own[start : start + len(joined)].tolist() == joined.tolist()
        assert len(query) == min(3, len(own) - start - len(support))


def test_every_size_is_drawn_and_the_largest_stands_for_longer_histories() -> None:
    rows = make_columns(3_000, num_times=1_000_000)
    rows = {name: values[(rows["domain_nums"] == 1).sum(dim=1) >= 7] for name, values in rows.items()}
    cut = draw(rows, (0, 1, 3))
    sizes = cut.has_support_RK.sum(dim=1)
    shares = torch.bincount(sizes, minlength=4) / len(sizes)
    assert shares[2] == 0
    assert (shares[[0, 1, 3]] - 1 / 3).abs().max() < 0.07
    short, shorter = forget_earlier(rows, 1, cut)
    is_own_RL = short["domain_nums"] == 1
    before_R = (is_own_RL & (torch.arange(L) < shorter.known_R.unsqueeze(1))).sum(dim=1)
    assert (before_R[sizes < 3] == sizes[sizes < 3]).all()
    assert set(before_R[sizes == 3].tolist()) >= {3, 4, 5, 6}


def test_a_user_with_few_events_is_asked_at_any_moment_and_not_only_at_the_first_one() -> None:
    rows = make_columns(3_000, num_times=1_000_000)
    rows = {name: values[(rows["domain_nums"] == 1).sum(dim=1) >= 7] for name, values in rows.items()}
    cut = draw(rows, (1,))
    before_R = ((rows["domain_nums"] == 1) & (torch.arange(L) < cut.known_R.unsqueeze(1))).sum(dim=1)
    assert set(before_R.tolist()) >= {1, 2, 3, 4, 5, 6}


def test_what_is_forgotten_is_the_domain_before_the_support_and_the_rest_keeps_its_place() -> None:
    rows = keep_rows_of(make_columns(), 1)
    cut = draw(rows)
    short, shorter = forget_earlier(rows, 1, cut)
    items, own, kept = rows["item_nums"], rows["domain_nums"] == 1, short["item_nums"]
    is_full_R = cut.has_support_RK.all(dim=1)
    assert is_full_R.any()
    assert not is_full_R.all()
    for at in range(len(items)):
        known, support = int(cut.known_R[at]), cut.support_RK[at][cut.has_support_RK[at]]
        places = [
            place for place in torch.nonzero(items[at]).flatten().tolist()
            if is_full_R[at] or place >= known or not own[at, place] or place in support.tolist()
        ]  # fmt: skip
        assert kept[at][kept[at] != 0].tolist() == items[at, places].tolist()
        assert int(shorter.known_R[at]) == sum(place < known for place in places)
        for old, new, has in (
            (cut.support_RK, shorter.support_RK, cut.has_support_RK),
            (cut.query_RQ, shorter.query_RQ, cut.has_query_RQ),
        ):
            assert [places[place] for place in new[at][has[at]]] == old[at][has[at]].tolist()


def test_a_short_row_is_cut_before_its_last_event() -> None:
    events = torch.tensor([[4, 5, 6, 0]])
    columns = dict(zip(SEQUENCE_COLUMNS, (events, (events > 0).long(), events, events, events), strict=True))
    cut = draw(columns, (8,))
    assert cut.support_RK[cut.has_support_RK].tolist() == [0, 1]
    assert cut.query_RQ[cut.has_query_RQ].tolist() == [2]


def test_rows_without_a_later_event_of_the_domain_are_dropped_and_shared_padding_is_cut() -> None:
    domains = torch.tensor([[1, 2, 0, 0], [2, 1, 0, 0], [2, 2, 2, 0]])
    columns = dict.fromkeys(SEQUENCE_COLUMNS, domains)
    assert keep_rows_of(columns, 1)["domain_nums"].tolist() == [[2, 1, 0, 0]]
    assert crop(keep_rows_of(columns, 1))["domain_nums"].tolist() == [[2, 1]]


def test_at_scoring_all_is_known_and_the_latest_events_are_the_support() -> None:
    columns = make_columns()
    cut = cut_at_end(columns, 1, num_support=2)
    assert torch.equal(cut.known_R, (columns["item_nums"] != 0).sum(dim=1))
    for at in range(len(cut.known_R)):
        own = torch.nonzero(columns["domain_nums"][at] == 1).flatten()
        assert cut.support_RK[at][cut.has_support_RK[at]].tolist() == own[-2:].tolist()


def test_a_newer_user_has_the_latest_events_of_the_domain_and_all_others() -> None:
    items = torch.tensor([[7, 8, 9, 5, 0]])
    columns = {**dict.fromkeys(SEQUENCE_COLUMNS, items), "domain_nums": torch.tensor([[1, 2, 1, 1, 0]])}
    assert keep_latest(columns, 1, 2)["item_nums"].tolist() == [[8, 9, 5, 0, 0]]
    assert keep_latest(columns, 1, 0)["item_nums"].tolist() == [[8, 0, 0, 0, 0]]
    assert keep_latest(columns, 1, 9)["item_nums"].tolist() == items.tolist()


def test_support_events_are_seen_from_before_them_and_the_query_from_before_its_first() -> None:
    rows = keep_rows_of(make_columns(), 1)
    cut = draw(rows)
    negatives_RSN = torch.ones(len(cut.known_R), 5, 2, dtype=torch.int64)
    nums_V = torch.arange(1, 11)
    support = support_pairs(rows, cut, negatives_RSN, nums_V)
    query = query_pairs(rows, cut, negatives_RSN[:, :3], nums_V)
    assert torch.equal(support.known_RC.view(-1, 5, 3), cut.support_RK.unsqueeze(2).expand(-1, -1, 3))
    assert (query.known_RC == cut.known_R.unsqueeze(1)).all()
    assert (support.labels_RC.view(-1, 5, 3) == torch.tensor([1.0, 0.0, 0.0])).all()
    items_RSM = support.items_RC.view(-1, 5, 3)
    assert torch.equal(items_RSM[..., 0], rows["item_nums"].gather(1, cut.support_RK) * cut.has_support_RK)


def test_negatives_that_the_user_has_do_not_count_and_the_support_does_not_know_the_future() -> None:
    events = torch.tensor([[4, 5, 6, 7]])
    columns = dict(zip(SEQUENCE_COLUMNS, (events, torch.ones_like(events), events, events, events), strict=True))
    cut = cut_at_end({name: values[:, :2] for name, values in columns.items()}, 1, num_support=2)
    negatives_RSN = torch.tensor([[[4, 6], [7, 5]]])
    nums_V = torch.arange(1, 11)
    support = support_pairs(columns, cut, negatives_RSN, nums_V)
    assert support.mask_RC.tolist() == [[1, 0, 1, 1, 1, 0]]
    places, both = torch.tensor([[2, 3]]), torch.ones(1, 2, dtype=torch.bool)
    query = query_pairs(columns, Cut(places - 2, both, places, both, torch.tensor([2])), negatives_RSN + 3, nums_V)
    assert query.items_RC[query.mask_RC > 0].tolist() == [6, 9, 7, 10, 8]


def test_an_item_that_is_no_candidate_does_not_count() -> None:
    events = torch.tensor([[4, 5]])
    columns = dict(zip(SEQUENCE_COLUMNS, (events, torch.ones_like(events), events, events, events), strict=True))
    support = support_pairs(columns, cut_at_end(columns, 1, num_support=2), torch.ones(1, 2, 1).long(), events[0, 1:])
    assert support.mask_RC.view(2, 2)[:, 0].tolist() == [0, 1]


def test_no_negative_of_a_held_out_item_is_held_out_or_known() -> None:
    columns = make_columns()
    generator = torch.Generator().manual_seed(1)
    truth_RQ = torch.randint(0, 11, (400, 2), generator=generator)
    negatives_RSN = torch.randint(1, 11, (400, 2, 6), generator=generator)
    pairs = truth_pairs(columns, truth_RQ, negatives_RSN, torch.arange(1, 11), torch.zeros(400, dtype=torch.int64))
    is_negative = (pairs.labels_RC == 0) & (pairs.mask_RC > 0)
    taken = torch.cat((columns["item_nums"], truth_RQ), dim=1)
    assert not ((pairs.items_RC.unsqueeze(2) == taken.unsqueeze(1)).any(dim=2) & is_negative).any()
    assert int(is_negative.sum()) > 100
    assert torch.equal((pairs.labels_RC * pairs.mask_RC).sum(dim=1), (truth_RQ != 0).float().sum(dim=1))


def test_half_of_the_negatives_are_uniform_and_half_follow_popularity() -> None:
    nums_V, popularity_V = torch.tensor([3, 5, 8, 9]), torch.tensor([0.7, 0.1, 0.2, 0.0])
    generator = torch.Generator().manual_seed(0)
    drawn_RSN = draw_task_negatives(
        nums_V, popularity_V, num_rows=100, num_events=50, num_negatives=4, generator=generator
    )
    assert drawn_RSN.shape == (100, 50, 4)
    for part, shares in ((drawn_RSN[..., :2], torch.full((4,), 0.25)), (drawn_RSN[..., 2:], popularity_V)):
        found = torch.stack([(part == num).float().mean() for num in nums_V])
        torch.testing.assert_close(found, shares, rtol=0, atol=0.02)
