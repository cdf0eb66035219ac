import torch

from benchmarks.timing import time_in_turns
from benchmarks.train_step import WAYS, made_batch, made_model, summarise, training_step

SIZES = {"domains": 2, "items": 50, "length": 6}


def test_every_way_lowers_the_loss_of_the_same_batch_alike():
    batch = made_batch(rows=16, **SIZES)
    assert set(batch.domains_BL[:, 0].tolist()) == {1, 2}
    assert bool((batch.items_BL > 0).all())
    falls = {}
    for name, way in WAYS.items():
        torch.manual_seed(0)
        model = made_model(width=16, layers=1, **SIZES)
        step = training_step(model, batch, domains=SIZES["domains"], items=SIZES["items"], way=way)
        losses = [float(step()) for _ in range(30)]
        falls[name] = losses[0] - losses[-1]
    assert min(falls.values()) > 0.05
    assert max(falls.values()) < 1.2 * min(falls.values())


def test_ways_are_timed_in_turns_and_held_against_the_first():
    called = []
    steps = {name: (lambda name=name: called.append(name)) for name in ("slow", "fast")}
    seconds = time_in_turns(steps, repetitions=3)
    assert called == ["slow", "fast"] * 5
    assert {name: len(values) for name, values in seconds.items()} == {"slow": 3, "fast": 3}
    assert summarise({"slow": [0.4, 0.2, 0.2], "fast": [0.1, 0.1, 0.3]})["fast"] == {
        "median_ms": 100.0, "times_faster": 2.0,
    }  # fmt: skip


def test_a_slow_way_takes_part_in_the_first_repetitions_only():
    called = []
    steps = {name: (lambda name=name: called.append(name)) for name in ("slow", "fast")}
    seconds = time_in_turns(steps, repetitions=3, untimed=1, fewer={"slow": 1})
    assert called == ["slow", "fast"] * 2 + ["fast"] * 2
    assert {name: len(values) for name, values in seconds.items()} == {"slow": 1, "fast": 3}
