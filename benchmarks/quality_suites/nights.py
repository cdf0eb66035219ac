"""A suite's part, cut and seeds in, users' measures out: the product's own jobs, one lake per part and cut (IO).

What does not train a network runs once per cut, with the cut's first seed (text vectors and ALS draw from it), and so
does all that is chosen on validation: epochs, strategies, the weights of the blend. Each seed then fits its own models
for the test window. A seed's measures are written as soon as it is done (``finished.py``), and it is not run again.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from benchmarks.peers.run import peer_user_metrics
from benchmarks.quality_suites.clicks import read_clicks, rounded
from benchmarks.quality_suites.finished import (
    KEPT_SEGMENTS,
    Finished,
    Places,
    is_finished,
    night_name,
    read_finished,
    values_file,
    write_finished,
)
from benchmarks.quality_suites.guarded import SERVED, read_decisions, read_transfer, with_chosen
from benchmarks.quality_suites.sampled import sampled_user_metrics
from benchmarks.quality_suites.suite import Part, Suite
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, hash_config, read_config, shaping_tree
from crossrec_core.lake_reader import read_arrow
from crossrec_core.ledger import DONE, read_steps
from crossrec_core.settings import CatalogueSettings, DomainSettings, Settings
from jobs.nightly import STEPS
from jobs.steps import Night, describe_versions, run_step, spark_session, start_night

SHARED_STEPS = ("clean", "prepare", "embed_text", "fit_baselines")
PEERS_NEED = ("clean", "prepare")
PEER_ENVIRONMENTS = "peers"  # below the work folder
LIST_STEPS = ("score", "evaluate")
LATER_STEPS = ("serve", "publish")
DATA_HERE = "../shared/data"  # where conf/ says the raw files lie
SAMPLE_SEED = 5
CHOSEN_FILE = "chosen_on_validation"
ANYWHERE = Places(Path("data"), Path("work"), Path("results"))


def run_part(
    suite: Suite, part: Part, cut: str, *, seeds: Sequence[int], places: Places, overrides: dict[str, Any],
    origin: dict[str, Any], keep_lake: bool = False, fresh: bool = False,
) -> None:  # fmt: skip
    """Run what is missing of one part and cut, or with ``fresh`` all of it; prints a line per step.

    ``origin`` is what every seed's file says of this start: revision, machine, sha256 of the raw files.
    """
    done = {each.seed for each in finished_seeds(suite, part, cut, places, overrides)}
    missing = [seed for seed in seeds if seed in suite.seeds_of(cut) and (fresh or seed not in done)]
    if not missing:
        return
    lake = lake_folder(suite, part, cut, places)
    if fresh and lake.exists():
        shutil.rmtree(lake)
    first = part_settings(suite, part, cut, suite.seeds_of(cut)[0], places, overrides)
    night = start_night(first, run_id=night_name(part, cut))
    with spark_session(first) as spark:
        for step in (step for step in STEPS if step in (PEERS_NEED if part.peers else SHARED_STEPS)):
            run_shared(step, first, night, spark)
        if not part.peers:
            _run_chosen(suite, first, night, spark)
        for seed in missing:
            say(night, f"seed {seed}")
            settings = fitting(part_settings(suite, part, cut, seed, places, overrides), c.BACKTEST)
            run = _run_peers if part.peers else _run_seed
            values, found = run(suite, part, settings, night, spark, places)
            about = {
                "settings": plain_settings(suite, part, cut, seed, overrides), "sampled": suite.sampled_negatives,
                "metrics": suite.metrics, "versions": describe_versions(), **found,
                "day": datetime.now(UTC).date().isoformat(), **origin,
            }  # fmt: skip
            file = values_file(suite, part, cut, seed, places)
            shared = [*settings.baselines.models, c.STACKED_BASELINES]
            write_finished(values, about, file, night=night.run_id, shared_models=shared)
    if not keep_lake:
        shutil.rmtree(lake)


def finished_seeds(
    suite: Suite, part: Part, cut: str, places: Places, overrides: dict[str, Any]
) -> list[Finished]:  # fmt: skip
    """The suite's seeds of one part and cut that are finished with these settings."""
    return [
        read_finished(suite, part, cut, seed, places)
        for seed in suite.seeds_of(cut)
        if is_finished(
            values_file(suite, part, cut, seed, places), suite, plain_settings(suite, part, cut, seed, overrides)
        )
    ]


def plain_settings(suite: Suite, part: Part, cut: str, seed: int, overrides: dict[str, Any]) -> dict[str, Any]:
    """One night's settings as JSON has them, the same wherever raw files and lakes lie.

    ``model.normalise_inputs`` is what it comes to, true or false: what ``auto`` means may change.
    """
    settings = part_settings(suite, part, cut, seed, ANYWHERE, overrides)
    plain: dict[str, Any] = json.loads(json.dumps(shaping_tree(settings)))
    plain["model"]["normalise_inputs"] = settings.normalises_inputs
    return plain


def part_settings(
    suite: Suite, part: Part, cut: str, seed: int, places: Places, overrides: dict[str, Any]
) -> Settings:  # fmt: skip
    """The product's settings of one night. In texts ``{data}`` and ``{work}`` are folders, ``{cut}`` is the cut."""
    own = {"lake": {"path": str(lake_folder(suite, part, cut, places))}, "train": {"seed": seed}}
    split = {"split": {"cut": cut}} if cut else {}
    folders = {"{data}": str(places.data), "{work}": str(suite_folder(suite, places)), "{cut}": cut}
    tree = merge(fill(suite.settings, folders), fill(part.settings, folders), split, overrides, own)
    settings = read_config(suite.config or DEFAULTS, overrides=tree)
    moved = {name: _moved(domain, places.data) for name, domain in settings.domains.items()}
    return replace(settings, domains=moved)


def merge(*trees: dict[str, Any]) -> dict[str, Any]:
    """Nested tables, the later over the earlier."""
    merged: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            is_table = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if is_table else value
    return merged


def fill(node: Any, folders: dict[str, str]) -> Any:
    """Replace the names of folders in every text of a tree."""
    if isinstance(node, dict):
        return {key: fill(value, folders) for key, value in node.items()}
    if isinstance(node, str):
        for name, folder in folders.items():
            node = node.replace(name, folder)
    return node


def suite_folder(suite: Suite, places: Places) -> Path:
    """Everything of a suite below the work folder."""
    return places.work / suite.name


def lake_folder(suite: Suite, part: Part, cut: str, places: Places) -> Path:
    """The lake of one part and cut."""
    return suite_folder(suite, places) / "lakes" / night_name(part, cut)


def say(night: Night, text: str) -> None:
    """One line of progress."""
    print(f"[{night.run_id}] {text}", flush=True)


def run_shared(step: str, settings: Settings, night: Night, spark: SparkSession) -> None:
    """Run a step of a night unless it has finished with the same settings."""
    if not _is_done(step, settings, night):
        _run(step, settings, night, spark)


def _is_done(step: str, settings: Settings, night: Night) -> bool:
    """Whether the last that the lake had of a step were these settings, and it finished."""
    return any(
        record.step == step and record.state == DONE and record.config_hash == hash_config(settings)
        for record in read_steps(night.lake, night.run_id)
    )


def _run_chosen(suite: Suite, first: Settings, night: Night, spark: SparkSession) -> None:
    """Fit and list what validation chooses by, unless this lake has it: a file says so once all of it is there."""
    settings = fitting(first, c.VALIDATE)
    done = Path(first.lake.path, CHOSEN_FILE)
    if done.exists() and done.read_text(encoding="utf-8") == hash_config(settings):
        return
    say(night, "choosing on validation")
    for step in _steps_of_a_seed(suite):
        if step != "evaluate":  # it looks at both windows: each seed's own turn
            _run(step, settings, night, spark)
    done.write_text(hash_config(settings), encoding="utf-8")


def fitting(settings: Settings, purpose: str) -> Settings:
    """The settings of a run that fits one purpose only."""
    return replace(settings, train=replace(settings.train, purposes=[purpose]))


def _steps_of_a_seed(suite: Suite) -> list[str]:
    skipped = (*SHARED_STEPS, *LATER_STEPS, *(LIST_STEPS if suite.sampled_negatives else ()))
    return [step for step in STEPS if step not in skipped]


def _run(step: str, settings: Settings, night: Night, spark: SparkSession) -> None:
    say(night, f"{step} ...")
    record = run_step(step, STEPS[step], settings, night, spark)
    say(night, f"{step}: {record.seconds:.0f} s")


def _run_seed(
    suite: Suite, part: Part, settings: Settings, night: Night, spark: SparkSession, places: Places
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Users' measures; the guard's choices, measures of clicks and the seconds of each step."""
    values, choices = _run_steps(suite, settings, night, spark)
    return values, {**choices, "clicks": read_clicks(night, suite), "seconds": _seconds(night)}


def _run_peers(
    suite: Suite, part: Part, settings: Settings, night: Night, spark: SparkSession, places: Places
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Users' measures; how each outside model was tuned."""
    lists = sorted({n for _, n in suite.stored if n})
    values, fits = peer_user_metrics(
        part.peers, settings, night, spark, environments=places.work / PEER_ENVIRONMENTS, lists=lists
    )
    seconds = {name: fit["seconds"] for name, fit in fits.items()}
    found = {"decisions": {}, "transfer": {}, "clicks": [], "seconds": seconds, "peers": fits}
    return _only_stored(values, suite), found


def _run_steps(
    suite: Suite, settings: Settings, night: Night, spark: SparkSession
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Users' measures, and the guard's choices among all models and between transfer and none.

    A seed that was killed goes on with the first step that it had not finished.
    """
    sampled = suite.sampled_negatives
    steps = _steps_of_a_seed(suite)
    num_done = len(list(takewhile(lambda step: _is_done(step, settings, night), steps)))
    for step in steps[num_done:]:
        _run(step, settings, night, spark)
    if sampled:
        say(night, f"ranks among {sampled} sampled items ...")
        values = sampled_user_metrics(
            settings, night, spark, num_negatives=sampled, seed=SAMPLE_SEED, measures=suite.measures
        )
        return values, {"decisions": {}, "transfer": {}}
    choices = {"decisions": read_decisions(night), "transfer": read_transfer(night, settings)}
    return with_chosen(_read_user_metrics(night, suite), choices["decisions"], SERVED), choices


def _seconds(night: Night) -> dict[str, float]:
    """Seconds of each step: this seed's own, and those of the steps that ran once for all seeds."""
    steps = {record.step: round(record.seconds or 0, 1) for record in read_steps(night.lake, night.run_id)}
    return {step: seconds for step, seconds in steps.items() if step not in LATER_STEPS}


def _read_user_metrics(night: Night, suite: Suite) -> pd.DataFrame:
    import pyarrow.dataset as ds

    names = [c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT, c.METRIC, c.N, "value"]
    wanted = ds.field(c.SEGMENT).isin(KEPT_SEGMENTS) & ds.field(c.METRIC).isin([metric for metric, _ in suite.stored])
    where = {c.RUN_ID: night.run_id, c.PURPOSE: c.BACKTEST}
    rows = read_arrow(night.lake, t.USER_METRICS, where=where, columns=names, predicate=wanted).to_pandas()
    return rounded(_only_stored(rows, suite))


def _only_stored(rows: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """The measures and segments that a finished seed keeps."""
    is_stored = pd.MultiIndex.from_frame(rows[[c.METRIC, c.N]]).isin(suite.stored)
    return rows[is_stored & rows[c.SEGMENT].isin(KEPT_SEGMENTS)]


def _moved(domain: DomainSettings, data: Path) -> DomainSettings:
    """The domain with its files below ``data``."""

    def at(path: str) -> str:
        return path.replace(DATA_HERE, str(data), 1) if path.startswith(DATA_HERE) else path

    catalogue: CatalogueSettings = replace(domain.catalogue, path=at(domain.catalogue.path))
    return replace(domain, path=at(domain.path), catalogue=catalogue)
