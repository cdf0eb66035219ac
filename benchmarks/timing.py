"""Ways timed in turns, so that a busy moment slows all alike."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from tqdm import tqdm

from crossrec_core.errors import ConfigError


def read_counts(texts: Sequence[str], *, names: Collection[str], repetitions: int) -> dict[str, int]:
    """``--fewer NAME=COUNT``: the runs of those who have fewer than ``repetitions``, by name.

    Raises:
        ConfigError: no such name, or no count from 1 to below ``repetitions``.
    """
    counts = {}
    for text in texts:
        name, _, count = text.rpartition("=")
        if name not in names or not count.isdigit() or not 1 <= int(count) < repetitions:
            raise ConfigError(
                f"--fewer {text}: expected NAME=COUNT, NAME one of {', '.join(names)} and COUNT from 1 to "
                f"{repetitions - 1}, e.g. --fewer '{next(iter(names))}=1'"
            )
        counts[name] = int(count)
    return counts


def turns(
    names: Sequence[str], *, repetitions: int, untimed: int = 0, fewer: Mapping[str, int] | None = None
) -> list[tuple[str, int]]:
    """Who runs when, with the number of the repetition: all once, all again; numbers below 0 are not timed.

    Who is named by ``fewer`` takes part in the first repetitions only, as many as it says.
    """
    return [
        (name, repetition)
        for repetition in range(-untimed, repetitions)
        for name in names
        if repetition < (fewer or {}).get(name, repetitions)
    ]


def time_in_turns(
    steps: Mapping[str, Callable[[], object]], *, repetitions: int, untimed: int = 2,
    fewer: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds per step by way, in ``turns``."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = turns(list(steps), repetitions=repetitions, untimed=untimed, fewer=fewer)
    for name, repetition in tqdm(order, desc="in turns", unit="run", disable=None, leave=False):
        started = time.perf_counter()
        steps[name]()
        if repetition >= 0:
            seconds[name].append(round(time.perf_counter() - started, 5))
    return seconds
