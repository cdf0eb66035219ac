import torch

from crossrec_core.tensors.inputs.batches import (
    SEQUENCE_COLUMNS,
    bucket_by_length,
    drop_without_targets,
    keep_domain,
    keep_targets,
    to_batch,
)
from tests.tensors.worlds import random_columns


def rows_of(columns):
    """Each row as a list of events, padding left out."""
    table = zip(*(columns[name].tolist() for name in SEQUENCE_COLUMNS), strict=True)
    return [[event for event in zip(*row, strict=True) if event[0]] for row in table]


def test_targets_are_the_next_events_and_the_batch_is_cropped_to_its_longest_row():
    columns = {name: torch.tensor([[5, 6, 0, 0], [7, 8, 9, 0]]) for name in SEQUENCE_COLUMNS}
    columns["domain_nums"] = torch.tensor([[1, 2, 0, 0], [1, 1, 2, 0]])
    batch = to_batch(columns)
    assert batch.items_BL.tolist() == [[5, 6, 0], [7, 8, 9]]
    assert batch.target_items_BL.tolist() == [[6, 0, 0], [8, 9, 0]]
    assert batch.target_domains_BL.tolist() == [[2, 0, 0], [1, 2, 0]]


def test_keep_domain_equals_a_plain_loop():
    for seed in range(5):
        columns = random_columns(30, 9, seed=seed)
        for domain in (1, 2):
            expected = [[event for event in row if event[1] == domain] for row in rows_of(columns)]
            kept = keep_domain(columns, domain)
            assert rows_of(kept) == expected
            lengths = (kept["item_nums"] != 0).sum(dim=1)
            assert all((kept["item_nums"][row, :length] != 0).all() for row, length in enumerate(lengths))


def test_keep_targets_ignores_other_domains_only():
    batch = to_batch(random_columns(30, 9, seed=1))
    kept = keep_targets(batch, torch.tensor([2]))
    assert set(kept.target_domains_BL.unique().tolist()) == {0, 2}
    assert torch.equal(kept.target_items_BL, torch.where(batch.target_domains_BL == 2, batch.target_items_BL, 0))
    assert torch.equal(kept.items_BL, batch.items_BL)


def test_rows_without_a_target_event_are_dropped():
    columns = random_columns(50, 6, seed=2)
    expected = [row for row in rows_of(columns) if any(event[1] == 1 for event in row[1:])]
    assert rows_of(drop_without_targets(columns, torch.tensor([1]))) == expected


def test_bucketing_keeps_every_row_once_and_needs_less_padding():
    columns = random_columns(200, 20, seed=4)
    chunks = [{name: values[start : start + 64] for name, values in columns.items()} for start in range(0, 200, 64)]
    batches = list(bucket_by_length(chunks, batch_size=8, generator=torch.Generator().manual_seed(0)))
    assert [len(batch["item_nums"]) for batch in batches] == [8] * 25
    assert sorted(map(str, rows_of(columns))) == sorted(str(row) for batch in batches for row in rows_of(batch))
    cells = sum(to_batch(batch).items_BL.numel() for batch in batches)
    assert cells < 0.75 * to_batch(columns).items_BL.numel()


def test_bucketing_repeats_for_a_seed():
    columns = random_columns(64, 10)
    first, second, other = (
        torch.cat([b["item_nums"] for b in bucket_by_length([columns], batch_size=8, generator=g)])
        for g in (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
