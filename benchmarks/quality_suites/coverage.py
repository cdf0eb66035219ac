"""A suite and its finished nights in, what is there and what is missing out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.quality_suites.suite import Suite


def is_complete(suite: Suite, nights: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every part, cut and seed of the suite is finished."""
    return num_finished(suite, nights) == num_nights(suite)


def num_nights(suite: Suite) -> int:
    """Parts times cuts times the seeds of each."""
    return len(_wanted(suite))


def num_finished(suite: Suite, nights: Sequence[Mapping[str, Any]]) -> int:
    """How many of the suite's parts, cuts and seeds are there."""
    return len(_wanted(suite) & {(night["part"], night["cut"], night["seed"]) for night in nights})


def coverage_notes(suite: Suite, nights: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines about seeds, cuts and parts: "4 of 6" where some are missing."""
    if not is_complete(suite, nights):
        yield (
            f"**Incomplete**: {num_finished(suite, nights)} of {num_nights(suite)} (part, cut, seed) are finished; "
            "goals are met or missed so far."
        )
    seeds = _some(_ordered(nights, "seed"), suite.seeds)
    if suite.seed_per_cut:
        yield f"Seeds {seeds}, one for each cut; intervals are over users."
    else:
        yield f"Seeds {seeds}; a user's measure is the mean over them, intervals are over users."
    uneven = {len({night["seed"] for night in own}) for own in _by_night(nights).values()}
    if len(uneven) > 1:
        yield f"{min(uneven)} to {max(uneven)} seeds per part and cut; a row's `seeds` are those of its poorest cut."
    cuts = _ordered(nights, "cut")
    yield f"Cuts: {_some(cuts, suite.cuts)}." if any(cuts) else "One split."
    if len(suite.parts) > 1:
        for part in suite.parts:
            own = [night for night in nights if night["part"] == part.name]
            if not own:
                yield f"Part {part.name}: not run."
            elif len(_by_night(own)) < len(suite.cuts):
                yield f"Part {part.name}: {len(_by_night(own))} of {len(suite.cuts)} cuts."


def _wanted(suite: Suite) -> set[tuple[str, str, int]]:
    """The name of the part, the cut and the seed of every night."""
    return {(part.name, cut, seed) for part in suite.parts for cut in suite.cuts for seed in suite.seeds_of(cut)}


def _by_night(nights: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for night in nights:
        found.setdefault((night["part"], night["cut"]), []).append(night)
    return found


def _ordered(nights: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return sorted({night[key] for night in nights})


def _some(found: Sequence[Any], wanted: Sequence[Any]) -> str:
    names = ", ".join(map(str, found))
    return names if set(wanted) <= set(found) else f"{len(found)} of {len(wanted)} ({names})"
