"""Process trees in, their peak memory out: what a step took, summed over the driver, its JVM and its workers."""

import threading
from types import TracebackType
from typing import Self

import psutil

INTERVAL_S = 0.5


class MemoryMeter:
    """Sample the proportional memory of this run's processes until the block ends."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, used_mib())
            if self._stop.wait(INTERVAL_S):
                return


def used_mib() -> float:
    """Memory of this process, its children and, under spark-submit, the JVM above it; shared pages count once."""
    own = psutil.Process()
    parent = own.parent()
    root = parent if parent is not None and "java" in parent.name() else own
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, AttributeError):
            continue
    return total / 2**20
