"""Finished seeds in and out: which there are, what is known of each, and their users' measures (IO).

A finished seed of a part and cut (a night) is the files of ``values.py`` and, written last, NIGHT-SEED.json. They lie
below the results and belong into the repository: a suite is finished over days and by several machines.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.quality_suites import values as stored
from benchmarks.quality_suites.cells import OWN_SEGMENTS
from benchmarks.quality_suites.guarded import GUARDED_TRANSFER, with_chosen
from benchmarks.quality_suites.suite import Part, Suite
from crossrec_core import columns as c
from crossrec_core.errors import ConfigError, InputError

ITEM_SEGMENTS = (c.KNOWN_ITEMS, c.COLD_ITEMS)
KEPT_SEGMENTS = (*OWN_SEGMENTS, *ITEM_SEGMENTS)
VALUES = "values"
# What was done before there was a setting, where that may not be what its default does
BEFORE = {"model": {"normalise_inputs": False}}


@dataclass(frozen=True)
class Places:
    """Where raw files lie, where lakes go, and where results and finished seeds do."""

    data: Path
    work: Path
    results: Path


@dataclass(frozen=True)
class Finished:
    """One finished seed: its file of measures and what is known about the run."""

    part: Part
    cut: str
    seed: int
    values: Path
    about: dict[str, Any]


def night_name(part: Part, cut: str) -> str:
    """The run's id, the folder of its lake and the start of its files' names."""
    return f"{part.name}-{cut or 'whole'}"


def values_file(suite: Suite, part: Part, cut: str, seed: int, places: Places) -> Path:
    """The measures of one seed; beside them, written last, a .json about the run."""
    return places.results / VALUES / suite.name / f"{night_name(part, cut)}-{seed}.parquet"


def is_finished(file: Path, suite: Suite, settings: dict[str, Any]) -> bool:
    """Whether a seed's measures are there, were made with these settings and this sampling, and hold these metrics.

    A setting that came later changes nothing by its default, and is left out; ``BEFORE`` holds those that did. The
    code's revision may be another: it is noted, and ``--fresh`` runs all again.
    """
    if not file.exists() or not file.with_suffix(".json").exists():
        return False
    known = _read_about(file)
    made_with = {**known["settings"]}
    for section, values in BEFORE.items():
        made_with[section] = {**values, **made_with.get(section, {})}
    is_same = agree(made_with, settings) and known["sampled"] == suite.sampled_negatives
    return is_same and set(suite.metrics) <= set(known["metrics"]) and file.with_name(known["shared"]).exists()


def agree(known: Any, today: Any) -> bool:
    """Whether settings that both trees have are the same in both; which domains there are must be the same too."""
    if not (isinstance(known, dict) and isinstance(today, dict)):
        return bool(known == today)
    if known.get("domains", {}).keys() != today.get("domains", {}).keys():
        return False
    return all(agree(known[name], today[name]) for name in known.keys() & today.keys())


def write_finished(
    values: pd.DataFrame, about: dict[str, Any], file: Path, *, night: str, shared_models: Collection[str]
) -> None:
    """Write a seed's measures over those it had; shared files that no seed of the night names any more go."""
    about_file = file.with_suffix(".json")
    about_file.unlink(missing_ok=True)  # a kill from here on leaves no seed rather than half of one
    shared = stored.write_values(values, file, night=night, shared_models=shared_models)
    about_file.write_text(json.dumps(about | {"shared": shared}, indent=1) + "\n", encoding="utf-8")
    named = {json.loads(each.read_text(encoding="utf-8"))["shared"] for each in file.parent.glob(f"{night}-*.json")}
    for each in file.parent.glob(f"{night}-shared-*.parquet"):
        if each.name not in named:
            each.unlink()


def read_finished(suite: Suite, part: Part, cut: str, seed: int, places: Places) -> Finished:
    """A seed that is finished, without its measures."""
    file = values_file(suite, part, cut, seed, places)
    return Finished(part, cut, seed, file, _read_about(file))


def read_values(finished: Sequence[Finished], suite: Suite) -> pd.DataFrame:
    """The measures of all seeds: table, part, cut, seed, model, domain, user_id, segment, metric, n, value.

    Raises:
        ConfigError: two parts of a table measure one model on one cut and domain.
    """
    needs_items = any(segment.startswith(ITEM_SEGMENTS) for segment in suite.segments)
    segments = KEPT_SEGMENTS if needs_items else OWN_SEGMENTS
    frames = []
    for each in finished:
        frame = stored.read_values(each.values, each.about["shared"], measures=suite.stored, segments=segments)
        frame = with_chosen(frame, each.about.get("transfer", {}), GUARDED_TRANSFER)
        if each.part.keep:
            frame = frame[frame[c.MODEL].isin(each.part.keep)].replace({c.MODEL: each.part.keep})
        frames.append(frame.assign(table=each.part.table, cut=each.cut, seed=each.seed, part=each.part.name))
    whole = pd.concat(frames, ignore_index=True)
    twice = whole.groupby(["table", "cut", c.MODEL, c.DOMAIN])["part"].nunique()
    if (twice > 1).any():
        raise ConfigError(f"{suite.name}: parts share {twice.idxmax()} in one table; rename models with keep")
    return whole


def one_origin(finished: Sequence[Finished]) -> dict[str, str]:
    """sha256 of the files that all seeds were made from.

    Raises:
        InputError: they were not made from the same.
    """
    first = finished[0]
    for each in finished:
        if each.about["sha256"] != first.about["sha256"]:
            raise InputError(
                f"{each.values.stem} and {first.values.stem} were made from different files (sha256 in their .json); "
                f"delete the wrong one of them in {first.values.parent}, or run all again with --fresh"
            )
    return dict(first.about["sha256"])


def distinct(finished: Sequence[Finished], key: str) -> list[Any]:
    """What the seeds say about ``key``, each answer once, in order."""
    answers: list[Any] = []
    for each in finished:
        if each.about[key] not in answers:
            answers.append(each.about[key])
    return answers


def _read_about(file: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return about
