"""Process trees in, their peak memory out: what a step took, summed over the driver, its JVM and its workers.

Only a walk over all pages tells what processes share (the proportional set size). It keeps a core busy for a tenth of a
second per few GiB, and whoever asks for memory meanwhile waits. Resident sizes cost nothing and are never below it, so
that a walk is due only once they have grown.
"""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import psutil

INTERVAL_S = 0.5
GROWTH = 1.02


class MemoryMeter:
    """Sample the proportional memory of processes, by default this run's, until the block ends."""

    def __init__(self, processes: Callable[[], Sequence[psutil.Process]] | None = None) -> None:
        self.peak_mib = 0.0
        self._processes = processes or own_processes
        self._walked_at_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Take one sample."""
        processes = self._processes()
        resident = resident_mib(processes)
        if resident > GROWTH * self._walked_at_mib:
            self._walked_at_mib = resident
            self.peak_mib = max(self.peak_mib, proportional_mib(processes))

    def _watch(self) -> None:
        while True:
            self.look()
            if self._stop.wait(INTERVAL_S):
                return


def own_processes() -> list[psutil.Process]:
    """This process, its children and, under spark-submit, the JVM above it."""
    own = psutil.Process()
    parent = own.parent()
    root = parent if parent is not None and "java" in parent.name() else own
    return [root, *root.children(recursive=True)]


def resident_mib(processes: Sequence[psutil.Process]) -> float:
    """Their memory; shared pages count once per process."""
    return sum(_bytes(process, "memory_info", "rss") for process in processes) / 2**20


def proportional_mib(processes: Sequence[psutil.Process]) -> float:
    """Their memory; shared pages count once."""
    return sum(_bytes(process, "memory_full_info", "pss") for process in processes) / 2**20


def _bytes(process: psutil.Process, call: str, field: str) -> int:
    """0 for a process that has ended, and where the system does not tell."""
    try:
        return int(getattr(getattr(process, call)(), field))
    except (psutil.Error, AttributeError):
        return 0
