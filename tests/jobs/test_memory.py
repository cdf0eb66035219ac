"""The peak of a step's memory, and that looking for it costs next to nothing while nothing grows."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import psutil
import pytest

from crossrec_core.tensors.devices import KEPT_BYTES
from jobs import memory
from jobs.memory import MemoryMeter

HELD_MIB = 2 * KEPT_BYTES >> 20  # more than this process may have kept of what other tests freed
CHILD = f"held = b'1' * ({HELD_MIB} << 20); print('held', flush=True); input()"


def test_the_peak_stays_after_the_memory_is_gone() -> None:
    meter = MemoryMeter()
    meter.look()
    before = meter.peak_mib
    held = np.ones(HELD_MIB << 17)
    meter.look()
    del held
    meter.look()
    assert HELD_MIB * 0.9 < meter.peak_mib - before < HELD_MIB * 1.5


def test_children_count() -> None:
    meter = MemoryMeter()
    meter.look()
    before = meter.peak_mib
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        meter.look()
        child.communicate(b"\n")
    assert meter.peak_mib - before > HELD_MIB * 0.9


def test_pages_are_walked_over_only_once_memory_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([1000.0, 1000.0, 1010.0, 900.0, 1100.0, 1100.0])
    walks = []

    def walk(processes: Sequence[psutil.Process]) -> float:
        walks.append(processes)
        return 100.0 * len(walks)

    monkeypatch.setattr(memory, "resident_mib", lambda processes: next(samples))
    monkeypatch.setattr(memory, "proportional_mib", walk)
    meter = MemoryMeter()
    peaks = []
    for _ in range(6):
        meter.look()
        peaks.append(meter.peak_mib)
    assert peaks == [100.0, 100.0, 100.0, 100.0, 200.0, 200.0]


def test_a_block_is_measured_at_least_once() -> None:
    with MemoryMeter() as meter:
        pass
    assert meter.peak_mib > 10


def test_a_meter_of_other_processes_counts_those_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        meter = MemoryMeter(lambda: [psutil.Process(child.pid)])
        held = np.ones(HELD_MIB << 17)
        meter.look()
        child.communicate(b"\n")
    del held
    assert HELD_MIB * 0.9 < meter.peak_mib < HELD_MIB * 1.5
