"""Ways timed in turns, so that a busy moment slows all alike."""

import time
from collections.abc import Callable, Mapping

from tqdm import tqdm


def time_in_turns(
    steps: Mapping[str, Callable[[], object]], *, repetitions: int, untimed: int = 2,
    fewer: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds per step by way; ``untimed`` steps of each first, then all ways once per repetition.

    A way that ``fewer`` names takes part in the first repetitions only, as many as it says.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    turns = [
        (name, repetition)
        for repetition in range(-untimed, repetitions)
        for name in steps
        if repetition < (fewer or {}).get(name, repetitions)
    ]
    for name, repetition in tqdm(turns, desc="in turns", unit="run", disable=None, leave=False):
        started = time.perf_counter()
        steps[name]()
        if repetition >= 0:
            seconds[name].append(round(time.perf_counter() - started, 5))
    return seconds
