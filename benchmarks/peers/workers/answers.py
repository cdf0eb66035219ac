"""Lines of stdin in, a worker's means as JSON beside the problem out; runs in the peer's environment.

What ``benchmarks/metrics.py`` tells a worker: the folder of its files, the lists' length, cores, GiB of Spark, lengths.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """Where the lists of one length and the held-out items lie, what to measure and with how much."""

    lists: Path
    truth: Path
    length: int
    n: list[int]
    cores: int
    memory_gib: int


def read_problem() -> Problem:
    """What the command line says."""
    folder, length, cores, memory_gib, *n = Path(sys.argv[1]), *(int(number) for number in sys.argv[2:])
    return Problem(folder / "recommendations", folder / "truth", length, n, cores, memory_gib)


def answer(measure: Callable[[], Mapping[str, float]]) -> None:
    """Measure once per line: ``{"recall@10": .1}``."""
    file = Path(sys.argv[1], Path(sys.argv[0]).name).with_suffix(".json")
    for _ in sys.stdin:
        values = {name: float(value) for name, value in measure().items()}
        file.write_text(json.dumps(values), encoding="utf-8")
        print("solved", flush=True)
