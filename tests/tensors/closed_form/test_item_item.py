"""EASE and SLIST against ridge regressions solved row by row in plain Python; golden numbers on a public log."""

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

import pytest
import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg
from crossrec_core.tensors.closed_form.artifacts import compress_rows, save_artifact
from crossrec_core.tensors.closed_form.closed_form_scorers import load_transitions
from crossrec_core.tensors.closed_form.item_item import (
    Decay,
    count_events,
    fit_ease,
    fit_slist,
    keep_events,
    pick_items,
    strongest,
    to_places,
)
from crossrec_core.tensors.network.checkpoint import About
from crossrec_core.tensors.retrieval.block_scores import DomainCandidates, candidates_of
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut
from tests import oracles

ITEMS_M = torch.tensor([2, 3, 5, 8, 9])  # item numbers of the domain 1; 4 belongs to domain 2, 9 to both
OWN, OTHER, LENGTH = 1, 2, 7
Event = tuple[int, int, int]  # item, domain, gap bucket


def random_rows(seed: int, *, num_rows: int = 25) -> list[list[Event]]:
    draw = random.Random(seed)
    kinds = [(2, OWN), (3, OWN), (5, OWN), (8, OWN), (9, OWN), (9, OTHER), (4, OTHER), (11, OWN)]
    return [
        [(*draw.choice(kinds), draw.randint(1, 22)) for _ in range(draw.randint(0, LENGTH))] for _ in range(num_rows)
    ]


def to_batches(rows: list[list[Event]], batch_size: int) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(rows), batch_size):
        padded = [row + [(0, 0, 0)] * (LENGTH - len(row)) for row in rows[start : start + batch_size]]
        values = torch.tensor(padded)
        yield dict(zip((c.ITEM_NUMS, c.DOMAIN_NUMS, c.GAP_BUCKETS), values.unbind(dim=2), strict=True))


def to_sequences(rows: list[list[Event]]) -> list[list[tuple[int, float]]]:
    """Places of the domain's modelled items, and the day of the event."""
    places = {item: place for place, item in enumerate(ITEMS_M.tolist())}
    sequences = []
    for row in rows:
        day, sequence = 0.0, []
        for item, domain, bucket in row:
            day += (2 ** (bucket - 1) - 1) / 86_400
            if domain == OWN and item in places:
                sequence.append((places[item], day))
        sequences.append(sequence)
    return sequences


@pytest.mark.parametrize("batch_size", [1, 9])
def test_ease_is_the_ridge_without_the_item_itself(batch_size: int) -> None:
    rows = random_rows(0)
    found_MM = fit_ease(
        to_batches(rows, batch_size), to_places(ITEMS_M), domain_num=OWN, num_items=5, regularisation=1.5
    )
    users = [{place for place, _ in sequence} for sequence in to_sequences(rows)]
    assert found_MM.tolist() == [pytest.approx(row, abs=1e-5) for row in oracles.ease(users, 5, 1.5)]


@pytest.mark.parametrize(("half_life_days", "whole_share"), [(0.0, 0.0), (0.0, 0.3), (2.0, 0.0), (2.0, 0.6)])
def test_slist_is_the_ridge_from_the_faded_past_to_the_next_item(half_life_days: float, whole_share: float) -> None:
    rows = random_rows(1)
    found_MM = fit_slist(
        to_batches(rows, 10), to_places(ITEMS_M), domain_num=OWN, num_items=5, regularisation=0.7,
        decay=Decay(0.6, half_life_days), whole_share=whole_share,
    )  # fmt: skip
    expected = oracles.slist(to_sequences(rows), 5, 0.7, 0.6, half_life_days, whole_share)
    assert found_MM.tolist() == [pytest.approx(row, abs=1e-5) for row in expected]


def test_a_row_closes_up_to_the_domains_events_and_keeps_the_time_between_them() -> None:
    row = [(2, OWN, 1), (4, OTHER, 18), (9, OTHER, 1), (11, OWN, 3), (5, OWN, 2), (9, OWN, 1)]
    (batch,) = to_batches([row], 1)
    places_BL, days_BL = keep_events(batch, to_places(ITEMS_M), OWN)
    assert places_BL.tolist() == [[0, 2, 4, -1, -1, -1, -1]]
    seconds = (2**17 - 1) + (2**2 - 1) + (2**1 - 1)
    assert days_BL.tolist() == [pytest.approx([0.0, seconds / 86_400, 0.0, 0.0, 0.0, 0.0, 0.0], abs=1e-6)]


def test_the_most_popular_items_are_modelled_and_untouched_ones_never() -> None:
    counts_V = torch.tensor([2, 0, 3, 2, 3])
    assert pick_items(counts_V, max_items=3).tolist() == [0, 2, 4]  # of the two with 2 the lower position
    assert pick_items(counts_V, max_items=9).tolist() == [0, 2, 3, 4]


def test_only_events_of_the_domain_are_counted() -> None:
    rows = random_rows(2)
    found = count_events(to_batches(rows, 4), to_places(ITEMS_M), domain_num=OWN, num_items=5)
    events = [(item, domain) for row in rows for item, domain, _ in row]
    assert found.tolist() == [events.count((item, OWN)) for item in ITEMS_M.tolist()]


def test_the_weights_farthest_from_zero_are_kept_and_of_equal_ones_the_lower_column() -> None:
    weights_MM = torch.tensor([[0.0, -3.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [0.0] * 4])
    rows, columns, weights = strongest(weights_MM, max_neighbours=2)
    found = list(zip(rows.tolist(), columns.tolist(), weights.tolist(), strict=True))
    assert found == [(0, 1, -3.0), (0, 2, 2.0), (1, 0, 1.0), (2, 0, 0.5), (2, 1, 0.5)]


# --- Golden numbers: Beauty, leave-one-out, full ranking; popularity alone reaches .0068 ---------------------------

LOG = Path(__file__).resolve().parents[4] / "shared/data/amazon_beauty_sports_toys/events.tsv.gz"
MAX_LEN = 50


@pytest.fixture(scope="module")
def beauty() -> tuple[Mapping[str, Tensor], DomainCandidates, HeldOut]:
    """Everything but each user's last item is known; that one is the truth."""
    if not LOG.exists():
        pytest.skip(f"{LOG} is not here")
    return read_beauty(LOG)


def read_beauty(path: Path) -> tuple[Mapping[str, Tensor], DomainCandidates, HeldOut]:
    users = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["domain"].lower() == "beauty":
                users[row["user_id"]].append((int(row["position"]), row["item_id"]))
    names = sorted({item for events in users.values() for _, item in events}, key=_hash)
    nums = {name: number for number, name in enumerate(names, start=1)}
    sequences = [[nums[item] for _, item in sorted(events)] for events in users.values()]
    known = torch.zeros(len(sequences), MAX_LEN, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        latest = sequence[:-1][-MAX_LEN:]
        known[row, : len(latest)] = torch.tensor(latest)
    counts_I = torch.bincount(known.flatten(), minlength=len(nums) + 1)
    counts_I[0] = 0
    items_V = torch.nonzero(counts_I).flatten()
    popularity_V = counts_I[items_V] / counts_I.sum()
    found = Candidates({1: items_V}, {1: popularity_V}, {1: popularity_V[None]}, {"beauty": 1}, "-")
    candidates = candidates_of(found, 1)
    ones = (known > 0).long()
    columns = {c.ITEM_NUMS: known, c.DOMAIN_NUMS: ones, c.ACTION_NUMS: ones, c.GAP_BUCKETS: ones}
    columns[c.EVENT_ORDERS] = ones.cumsum(dim=1) * ones
    truth_RT = torch.tensor([[sequence[-1]] for sequence in sequences])
    return columns, candidates, HeldOut(columns, truth_RT, torch.arange(len(known)), 1, exclude_seen=True)


def _hash(name: str) -> bytes:
    return blake2b(name.encode()).digest()


def ndcg_of(
    weights_MM: Tensor, items_M: Tensor, world: tuple[Mapping[str, Tensor], DomainCandidates, HeldOut], folder: Path
) -> float:
    """NDCG@10 of the artifact that the job would write."""
    _, candidates, held_out = world
    rows, columns, weights = strongest(weights_MM, max_neighbours=200)
    nums, positions = candidates.items_V[items_M[rows]], items_M[columns]
    options = {"history_decay": 0.6}
    about = About("transitions", "golden", "beauty", 1, "-", options)
    save_artifact(str(folder / "model"), about, compress_rows(nums.numpy(), positions.numpy(), weights.numpy()))
    return mean_list_ndcg(load_transitions(folder / "model", options, candidates), held_out, candidates)


def rows_of(columns: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(columns[c.ITEM_NUMS]), 1024):
        yield {name: values[start : start + 1024] for name, values in columns.items()}


@pytest.mark.slow
def test_slist_keeps_its_golden_number(
    beauty: tuple[Mapping[str, Tensor], DomainCandidates, HeldOut], tmp_path: Path
) -> None:
    columns, candidates, _ = beauty
    items_M = pick_items((candidates.popularity_V > 0).long(), max_items=20_000)
    weights_MM = fit_slist(
        rows_of(columns), to_places(candidates.items_V[items_M]), domain_num=1, num_items=len(items_M),
        regularisation=50.0, decay=Decay(0.6), whole_share=0.2,
    )  # fmt: skip
    assert ndcg_of(weights_MM, items_M, beauty, tmp_path) >= 0.061


@pytest.mark.slow
def test_ease_keeps_its_golden_number(
    beauty: tuple[Mapping[str, Tensor], DomainCandidates, HeldOut], tmp_path: Path
) -> None:
    columns, candidates, _ = beauty
    items_M = pick_items((candidates.popularity_V > 0).long(), max_items=20_000)
    weights_MM = fit_ease(
        rows_of(columns), to_places(candidates.items_V[items_M]), domain_num=1, num_items=len(items_M),
        regularisation=100.0,
    )  # fmt: skip
    assert ndcg_of(weights_MM, items_M, beauty, tmp_path) >= 0.052
