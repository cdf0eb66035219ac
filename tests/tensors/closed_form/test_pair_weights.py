"""Weights of pair sums against the slow, obvious count of tests/oracles.py."""

import random

import numpy as np
import pyarrow as pa
import pytest
import torch

from crossrec_core.tensors.closed_form.pair_weights import (
    KINDS,
    SUMS,
    PairSums,
    keep_strongest,
    read_pair_sums,
    to_tensors,
    weigh_neighbours,
    weigh_transitions,
)
from tests import oracles

DOMAIN = "books"


def counted(seed: int) -> tuple[PairSums, dict[tuple[str, int, int], list[float]], dict[int, int]]:
    """Pair sums of a random log as rows in any order, the oracle's sums and counts."""
    draw = random.Random(seed)
    events = [(user, draw.choice(["books", "films"]), draw.randint(1, 8)) for user in range(30) for _ in range(6)]
    sums = {key: values for key, values in oracles.pair_sums(events, 3, 0.7).items() if key[0] == DOMAIN}
    counts = {item: sum(1 for event in events if event[2] == item) for item in range(1, 9)}
    rows = [
        {
            "item_num": item, "next_item_num": later, "item_count": counts[item], "next_item_count": counts[later],
            **dict(zip(SUMS, values, strict=True)),
        }
        for (_, item, later), values in sums.items()
    ]  # fmt: skip
    draw.shuffle(rows)
    batches = [pa.RecordBatch.from_pylist(rows[start : start + 7]) for start in range(0, len(rows), 7)]
    return read_pair_sums(batches), sums, counts


def kept_of(sums: PairSums, weights_E: np.ndarray, max_neighbours: int) -> dict[tuple[str, int, int], float]:
    kept = keep_strongest(sums, weights_E, max_neighbours=max_neighbours)
    return {
        (DOMAIN, int(sums.nums_E[pair]), int(sums.next_nums_E[pair])): float(weights_E[pair]) for pair in kept.tolist()
    }


def test_transitions_equal_the_slow_weights() -> None:
    sums, slow, counts = counted(0)
    expected = {
        key: (ahead + 0.4 * behind + 0.3 * (ahead_across + 0.4 * behind_across))
        / (counts[key[1]] ** 0.8 * counts[key[2]] ** 0.2)
        for key, (ahead, behind, ahead_across, behind_across) in slow.items()
    }
    weights_E = weigh_transitions(sums, backward=0.4, alpha=0.8, cross_domain=0.3)
    assert kept_of(sums, weights_E, 3) == pytest.approx(oracles.strongest(expected, 3))


def test_neighbours_equal_the_slow_cosine() -> None:
    sums, slow, counts = counted(1)
    expected = {
        key: (values[0] + values[1] + 0.5 * (values[2] + values[3])) / ((counts[key[1]] * counts[key[2]]) ** 0.5 + 2.0)
        for key, values in slow.items()
    }
    weights_E = weigh_neighbours(sums, shrink=2.0, cross_domain=0.5)
    assert kept_of(sums, weights_E, 4) == pytest.approx(oracles.strongest(expected, 4))


def test_equal_weights_are_kept_by_candidate_and_weightless_pairs_never() -> None:
    columns = {name: np.ones(4, dtype=kind) for name, kind in KINDS.items()}
    columns |= {"item_num": np.array([9, 9, 9, 2]), "next_item_num": np.array([5, 3, 7, 3])}
    sums = read_pair_sums([pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})])
    weights_E = np.array([0.0, 1.0, 1.0, 1.0])  # sorted by item, then candidate: (2, 3), (9, 3), (9, 5), (9, 7)
    assert keep_strongest(sums, weights_E, max_neighbours=2).tolist() == [1, 2]
    tensors = to_tensors(sums, weights_E, torch.tensor([3, 5, 7]), max_neighbours=2)
    assert tensors["indptr"].tolist() == [0] * 10 + [2]
    assert tensors["positions"].tolist() == [0, 1]


def test_no_pairs_make_an_empty_model() -> None:
    sums = read_pair_sums([])
    weights_E = weigh_transitions(sums, backward=0.3, alpha=0.9, cross_domain=0.0)
    assert to_tensors(sums, weights_E, torch.tensor([3]), max_neighbours=2)["indptr"].tolist() == [0, 0]
