"""The files of benchmarks/feed.py in, read once per line of stdin. Without the product."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """Where the files lie and how they are read; a turn is over when ``rows`` rows have come."""

    folder: Path
    batch_size: int
    threads: int
    rows: int

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))


def read_task() -> Task:
    """From the command line."""
    return Task(Path(sys.argv[1]).resolve(), *(int(number) for number in sys.argv[2:]))


def answer(task: Task, read: Callable[[], Iterator[Mapping[str, Sized]]]) -> None:
    """One pass per line, ended early where fewer rows are asked for than there are."""
    for _ in sys.stdin:
        seen = 0
        with closing(read()) as batches:
            while seen < task.rows:
                seen += len(next(batches)["user_num"])
            print("solved", flush=True)
