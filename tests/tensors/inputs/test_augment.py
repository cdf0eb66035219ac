import pytest
import torch

from crossrec_core.tensors.inputs.augment import Augmentation, augment, crop, mask_events, reorder, shuffle_ties
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from tests.tensors.worlds import random_columns

BOTH = torch.tensor([1, 2])
ALL_ON = Augmentation(
    crop_share=0.5, crop_length=0.6, mask_share=0.3, reorder_share=0.5, reorder_window=3, shuffle_within_bucket=4
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(num_rows=60, length=12):
    """Random rows whose items, and actions beside them, tell where an event stood."""
    rows = random_columns(num_rows, length, seed=4)
    places_BL = torch.arange(1, length + 1) * (rows["item_nums"] != 0)
    return {**rows, "item_nums": places_BL, "action_nums": 100 * places_BL}


def rows_of(columns):
    """Each row as a list of its events, padding left out: (item, domain, action)."""
    names = ("item_nums", "domain_nums", "action_nums")
    return [[event for event in zip(*row, strict=True) if event[0]]
            for row in zip(*(columns[name].tolist() for name in names), strict=True)]  # fmt: skip


def one_row(items, gaps, domain=1):
    ones = torch.ones(1, len(items), dtype=torch.int64) * (torch.tensor([items]) != 0)
    return {"item_nums": torch.tensor([items]), "domain_nums": domain * ones, "action_nums": ones,
            "gap_buckets": torch.tensor([gaps]), "event_orders": torch.arange(1, len(items) + 1) * ones}  # fmt: skip


CHANGES = {
    "crop": lambda rows, seed: crop(rows, share=0.7, length=0.5, generator=generator(seed)),
    "mask": lambda rows, seed: mask_events(rows, share=0.4, generator=generator(seed)),
    "reorder": lambda rows, seed: reorder(rows, share=0.7, window=3, generator=generator(seed)),
    "ties": lambda rows, seed: shuffle_ties(rows, within_bucket=4, timed_nums=BOTH, generator=generator(seed)),
    "all": lambda rows, seed: augment(rows, ALL_ON, timed_nums=BOTH, generator=generator(seed)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_padding_stays_at_the_end_of_every_column_and_the_seed_decides(change):
    rows = numbered()
    before = {name: values.clone() for name, values in rows.items()}
    changed = change(rows, 0)
    is_event_BL = changed["item_nums"] != 0
    lengths_B1 = is_event_BL.sum(dim=1, keepdim=True)
    assert torch.equal(is_event_BL, torch.arange(12) < lengths_B1)
    assert all(torch.equal(changed[name] != 0, is_event_BL) for name in SEQUENCE_COLUMNS)
    assert all(torch.equal(rows[name], before[name]) for name in before)
    assert not torch.equal(changed["item_nums"], rows["item_nums"])
    assert all(torch.equal(changed[name], change(rows, 0)[name]) for name in SEQUENCE_COLUMNS)
    assert not torch.equal(changed["item_nums"], change(rows, 1)["item_nums"])


@pytest.mark.parametrize("name", ["reorder", "ties"])
def test_events_change_places_and_none_is_lost_or_torn_apart(name):
    rows = numbered()
    changed = CHANGES[name](rows, 0)
    assert [sorted(row) for row in rows_of(changed)] == rows_of(rows)
    assert torch.equal(changed["gap_buckets"], rows["gap_buckets"])
    assert torch.equal(changed["event_orders"], rows["event_orders"])


@pytest.mark.parametrize("name", ["crop", "mask"])
def test_what_is_left_keeps_its_order_and_at_least_two_events(name):
    rows = numbered()
    for before, after in zip(rows_of(rows), rows_of(CHANGES[name](rows, 0)), strict=True):
        assert after == sorted(after)
        assert set(after) <= set(before)
        assert len(after) >= min(2, len(before))


def test_a_cropped_row_is_one_piece_of_the_wanted_length():
    rows = numbered()
    changed = crop(rows, share=1.0, length=0.5, generator=generator())
    starts = set()
    for before, after in zip(rows_of(rows), rows_of(changed), strict=True):
        assert len(after) == min(max(-(-len(before) // 2), 2), len(before))
        assert [event[0] for event in after] == list(range(after[0][0], after[0][0] + len(after))) if after else True
        starts |= {after[0][0] == 1} if len(before) > 3 else set()
    assert starts == {True, False}
    own_gaps = rows["gap_buckets"].gather(1, (changed["item_nums"] - 1).clamp(min=0))
    assert torch.equal(changed["gap_buckets"], own_gaps * (changed["item_nums"] != 0))


def test_about_the_wanted_share_of_the_events_is_masked():
    rows = {name: torch.ones(400, 50, dtype=torch.int64) for name in SEQUENCE_COLUMNS}
    left = mask_events(rows, share=0.3, generator=generator())["item_nums"]
    assert float(left.double().mean()) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(("gaps", "merged"), [([1, 5, 4, 3], 5), ([1, 1, 1, 1], 1), ([1, 4, 4, 4], 5)])
def test_a_gap_spans_the_events_left_out_before_it(gaps, merged):
    rows = one_row([7, 8, 9, 6], gaps)
    found = set()
    for seed in range(60):
        changed = mask_events(rows, share=0.5, generator=generator(seed))
        if changed["item_nums"].tolist() == [[7, 6, 0, 0]]:
            found.add(tuple(changed["gap_buckets"][0].tolist()))
    assert found == {(1, merged, 0, 0)}


def test_reordering_moves_events_inside_one_window_only():
    rows = numbered()
    spans = set()
    for before, after in zip(rows_of(rows), rows_of(CHANGES["reorder"](rows, 0)), strict=True):
        moved = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        spans.add(moved[-1] - moved[0] + 1 if moved else 0)
    assert spans == {0, 2, 3}


def test_only_ties_change_places():
    rows = one_row([7, 8, 9, 6, 5, 0], [9, 1, 9, 2, 1, 0])
    seen = set()
    for seed in range(40):
        changed = shuffle_ties(rows, within_bucket=1, timed_nums=BOTH, generator=generator(seed))
        seen.add(tuple(changed["item_nums"][0].tolist()))
    assert seen == {(a, b, 9, d, e, 0) for a, b in ((7, 8), (8, 7)) for d, e in ((6, 5), (5, 6))}


def test_events_of_the_same_moment_change_places_and_close_ones_do_not():
    rows = one_row([7, 8, 9, 6, 0, 0], [9, 1, 1, 9, 0, 0])
    rows = {**rows, "event_orders": torch.tensor([[5, 5, 6, 900, 0, 0]])}  # microseconds: 9 follows at once, but later
    seen = {
        tuple(augment(rows, Augmentation(shuffle_ties=True), timed_nums=BOTH, generator=generator(seed))[
            "item_nums"][0].tolist())
        for seed in range(20)
    }  # fmt: skip
    assert seen == {(7, 8, 9, 6, 0, 0), (8, 7, 9, 6, 0, 0)}


def test_rows_of_an_order_only_log_have_no_ties():
    rows = one_row([7, 8, 9, 6], [1, 1, 1, 1], domain=2)
    rows = {**rows, "event_orders": torch.ones(1, 4, dtype=torch.int64)}
    for seed in range(5):
        changed = shuffle_ties(rows, within_bucket=4, timed_nums=torch.tensor([1]), generator=generator(seed))
        assert torch.equal(changed["item_nums"], rows["item_nums"])


def test_what_is_off_changes_nothing_and_draws_nothing():
    rows, untouched = numbered(), generator(3)
    state = untouched.get_state()
    changed = augment(rows, Augmentation(), timed_nums=BOTH, generator=untouched)
    assert all(torch.equal(changed[name], rows[name]) for name in SEQUENCE_COLUMNS)
    assert torch.equal(untouched.get_state(), state)
