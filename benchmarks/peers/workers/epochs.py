"""A task of benchmarks/train.py in, a trained model's vectors out; an epoch per line of stdin. Without the product.

A worker is started with a folder, the number of epochs and the number of its variant. It reads ``task.json`` and
``sequences.npz`` there and writes ``SCRIPT-VARIANT.npz``. U users, V items, D width.
"""

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

CHECKED = 16  # users whose scores are held against the package's own


@dataclass(frozen=True)
class Job:
    """What a worker was told."""

    task: dict[str, Any]
    sequences: list[np.ndarray]  # of each user, item numbers from 1, oldest first; at most length + 1
    epochs: int
    variant: int
    folder: Path
    answers: TextIO


def read_job() -> Job:
    """From the command line. What packages print is no answer: it goes where errors go; they are not to warn."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    folder, epochs, variant = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    with np.load(folder / "sequences.npz") as arrays:
        sequences = np.split(arrays["items"], arrays["ends"][:-1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    return Job(task, sequences, epochs, variant, folder, answers)


def wait_for_turn() -> None:
    """Until an epoch is asked for; whoever asks no more ends the worker."""
    if not sys.stdin.readline():
        raise SystemExit(0)


def end_turn(job: Job) -> None:
    """The epoch is over."""
    print("solved", file=job.answers, flush=True)


def save_vectors(
    job: Job, users_UD: np.ndarray, items_VD: np.ndarray, own_scores: np.ndarray, *, num_targets: int, num_weights: int
) -> None:
    """Users in the order of the sequences, items by number from 1: a score is their product.

    ``own_scores`` are those of the package for the first users, [CHECKED, V]: if they were others, the vectors would
    not say what it recommends. ``num_targets`` are what an epoch of the package's own batches predicts.
    """
    np.testing.assert_allclose(users_UD[: len(own_scores)] @ items_VD.T, own_scores, rtol=1e-3, atol=1e-4)
    file = job.folder / f"{Path(sys.argv[0]).stem}-{job.variant}.npz"
    counts = {"targets": num_targets, "weights": num_weights}
    np.savez(file, users=users_UD.astype(np.float32), items=items_VD.astype(np.float32), **counts)


def padded(sequences: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The latest ``length`` events of each as rows, zeros before them."""
    rows = np.zeros((len(sequences), length), dtype=np.int64)
    for row, events in zip(rows, sequences, strict=True):
        latest = events[-length:]
        row[length - len(latest) :] = latest
    return rows
