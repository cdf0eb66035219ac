"""A suite's part, cut and seeds in, users' measures out: the product's own jobs, one lake per part and cut (IO).

What does not train a network runs once per cut, with the first seed (text vectors and ALS draw from it); the rest runs
once per seed. Each seed's measures are a file: a finished (part, cut, seed) with the same settings is not run again.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from benchmarks.quality_suites.cells import OWN_SEGMENTS
from benchmarks.quality_suites.sampled import sampled_user_metrics
from benchmarks.quality_suites.suite import Part, Suite
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import DEFAULTS, hash_config, read_config
from crossrec_core.errors import ConfigError
from crossrec_core.lake_reader import read_arrow
from crossrec_core.ledger import DONE, read_steps
from crossrec_core.settings import CatalogueSettings, DomainSettings, Settings
from jobs.nightly import STEPS
from jobs.steps import Night, describe_versions, run_step, spark_session, start_night

SHARED_STEPS = ("clean", "prepare", "embed_text", "fit_baselines")
LIST_STEPS = ("score", "evaluate")
LATER_STEPS = ("serve", "publish")
DATA_HERE = "../shared/data"  # where conf/ says the raw files lie
SAMPLE_SEED = 5
SERVED = "served"
ITEM_SEGMENTS = (c.KNOWN_ITEMS, c.COLD_ITEMS)
KEPT_SEGMENTS = (*OWN_SEGMENTS, *ITEM_SEGMENTS)


@dataclass(frozen=True)
class Places:
    """Where raw files lie, and where lakes and measures go."""

    data: Path
    work: Path


@dataclass(frozen=True)
class Finished:
    """One finished seed: its file of measures and what is known about the run."""

    part: Part
    cut: str
    seed: int
    values: Path
    about: dict[str, Any]


def run_part(
    suite: Suite, part: Part, cut: str, *, seeds: Sequence[int], places: Places, overrides: dict[str, Any],
    keep_lake: bool,
) -> list[Finished]:  # fmt: skip
    """Run what is missing of one part and cut; prints a line per step."""
    settings = {seed: part_settings(suite, part, cut, seed, places, overrides) for seed in seeds}
    missing = [seed for seed in seeds if not is_finished(suite, part, cut, seed, places, settings[seed])]
    if missing:
        first = settings[seeds[0]]
        night = start_night(first, run_id=night_name(part, cut))
        with spark_session(first) as spark:
            for step in (step for step in STEPS if step in SHARED_STEPS):
                _run_shared(step, first, night, spark)
            for seed in missing:
                say(night, f"seed {seed}")
                _run_seed(suite, part, cut, seed, settings[seed], night, spark, places)
        if not keep_lake:
            shutil.rmtree(lake_folder(suite, part, cut, places))
    return [_read_finished(suite, part, cut, seed, places) for seed in seeds]


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


def read_values(finished: Sequence[Finished], suite: Suite) -> pd.DataFrame:
    """The measures of all seeds, averaged over seeds: table, cut, model, domain, user_id, segment, metric, n, value."""
    needs_items = any(segment.startswith(ITEM_SEGMENTS) for segment in suite.segments)
    segments = KEPT_SEGMENTS if needs_items else OWN_SEGMENTS
    frames = []
    for each in finished:
        frame = pd.read_parquet(each.values, filters=[(c.SEGMENT, "in", segments)])
        if each.part.keep:
            frame = frame[frame[c.MODEL].isin(each.part.keep)].replace({c.MODEL: each.part.keep})
        frames.append(frame.assign(table=each.part.table, cut=each.cut, seed=each.seed))
        frames[-1]["part"] = each.part.name
    whole = pd.concat(frames, ignore_index=True)
    twice = whole.groupby(["table", "cut", c.MODEL, c.DOMAIN])["part"].nunique()
    if (twice > 1).any():
        raise ConfigError(f"{suite.name}: parts share {twice.idxmax()} in one table; rename models with keep")
    wanted = pd.MultiIndex.from_tuples(suite.measures)
    return whole[pd.MultiIndex.from_frame(whole[[c.METRIC, c.N]]).isin(wanted)].reset_index(drop=True)


def read_decisions(night: Night) -> dict[str, dict[str, str]]:
    """The model that the guard chose, by target domain and segment of users."""
    columns = [c.DOMAIN, c.SEGMENT, "decision"]
    report = read_arrow(night.lake, t.TRANSFER_REPORT, where={c.RUN_ID: night.run_id}, columns=columns)
    decisions: dict[str, dict[str, str]] = {}
    for row in report.to_pylist():
        if row[c.SEGMENT] in (c.ALL, *OWN_SEGMENTS):
            decisions.setdefault(row[c.DOMAIN], {})[row[c.SEGMENT]] = row["decision"]
    return decisions


def with_served(values: pd.DataFrame, decisions: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Add, as the model ``served``, each user's rows of the model that the guard chose for users of their segment.

    A segment without a decision has its domain's.
    """
    users = values.loc[values[c.SEGMENT].isin(OWN_SEGMENTS), [c.DOMAIN, c.USER_ID, c.SEGMENT]].drop_duplicates()
    chosen = [
        decisions.get(domain, {}).get(segment, decisions.get(domain, {}).get(c.ALL))
        for domain, segment in zip(users[c.DOMAIN], users[c.SEGMENT], strict=True)
    ]
    by_user = users.assign(**{c.MODEL: chosen})[[c.DOMAIN, c.USER_ID, c.MODEL]]
    served = values.merge(by_user, on=[c.DOMAIN, c.USER_ID, c.MODEL], how="inner").assign(**{c.MODEL: SERVED})
    return pd.concat([values, served], ignore_index=True)


def night_name(part: Part, cut: str) -> str:
    """The run's id and the folder of its lake."""
    return f"{part.name}-{cut or 'whole'}"


def suite_folder(suite: Suite, places: Places) -> Path:
    """Everything of a suite below the work folder."""
    return places.work / suite.name


def lake_folder(suite: Suite, part: Part, cut: str, places: Places) -> Path:
    """The lake of one part and cut."""
    return suite_folder(suite, places) / "lakes" / night_name(part, cut)


def values_file(suite: Suite, part: Part, cut: str, seed: int, places: Places) -> Path:
    """The measures of one seed; beside them, written last, a .json about the run."""
    return suite_folder(suite, places) / "values" / f"{night_name(part, cut)}-{seed}.parquet"


def is_finished(suite: Suite, part: Part, cut: str, seed: int, places: Places, settings: Settings) -> bool:
    """Whether this seed's measures were made with these settings and this sampling, and hold these metrics."""
    about = values_file(suite, part, cut, seed, places).with_suffix(".json")
    if not about.exists():
        return False
    known = json.loads(about.read_text(encoding="utf-8"))
    is_same = known["settings_hash"] == hash_config(settings) and known["sampled"] == suite.sampled_negatives
    return is_same and set(suite.metrics) <= set(known["metrics"])


def say(night: Night, text: str) -> None:
    """One line of progress."""
    print(f"[{night.run_id}] {text}", flush=True)


def _run_shared(step: str, settings: Settings, night: Night, spark: SparkSession) -> None:
    done = {
        record.step
        for record in read_steps(night.lake, night.run_id)
        if record.state == DONE and record.config_hash == hash_config(settings)
    }
    if step not in done:
        _run(step, settings, night, spark)


def _run(step: str, settings: Settings, night: Night, spark: SparkSession) -> None:
    say(night, f"{step} ...")
    record = run_step(step, STEPS[step], settings, night, spark)
    say(night, f"{step}: {record.seconds:.0f} s")


def _run_seed(
    suite: Suite, part: Part, cut: str, seed: int, settings: Settings, night: Night, spark: SparkSession, places: Places
) -> None:  # fmt: skip
    sampled, decisions = suite.sampled_negatives, dict[str, dict[str, str]]()
    skipped = (*SHARED_STEPS, *LATER_STEPS, *(LIST_STEPS if sampled else ()))
    for step in (step for step in STEPS if step not in skipped):
        _run(step, settings, night, spark)
    if sampled:
        say(night, f"ranks among {sampled} sampled items ...")
        values = sampled_user_metrics(
            settings, night, spark, num_negatives=sampled, seed=SAMPLE_SEED, measures=suite.measures
        )
    else:
        decisions = read_decisions(night)
        values = with_served(_read_user_metrics(night, suite), decisions)
    file = values_file(suite, part, cut, seed, places)
    file.parent.mkdir(parents=True, exist_ok=True)
    values.to_parquet(file, index=False)
    steps = {record.step: round(record.seconds or 0, 1) for record in read_steps(night.lake, night.run_id)}
    about = {
        "settings_hash": hash_config(settings), "sampled": sampled, "metrics": suite.metrics,
        "decisions": decisions,
        "versions": describe_versions(),
        "seconds": {step: seconds for step, seconds in steps.items() if step not in LATER_STEPS},
    }  # fmt: skip
    file.with_suffix(".json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def _read_user_metrics(night: Night, suite: Suite) -> pd.DataFrame:
    import pyarrow.dataset as ds

    names = [c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT, c.METRIC, c.N, "value"]
    wanted = ds.field(c.SEGMENT).isin(KEPT_SEGMENTS) & ds.field(c.METRIC).isin([metric for metric, _ in suite.measures])
    where = {c.RUN_ID: night.run_id, c.PURPOSE: c.BACKTEST}
    return read_arrow(night.lake, t.USER_METRICS, where=where, columns=names, predicate=wanted).to_pandas()


def _read_finished(suite: Suite, part: Part, cut: str, seed: int, places: Places) -> Finished:
    file = values_file(suite, part, cut, seed, places)
    return Finished(part, cut, seed, file, json.loads(file.with_suffix(".json").read_text(encoding="utf-8")))


def _moved(domain: DomainSettings, data: Path) -> DomainSettings:
    """The domain with its files below ``data``."""

    def at(path: str) -> str:
        return path.replace(DATA_HERE, str(data), 1) if path.startswith(DATA_HERE) else path

    catalogue: CatalogueSettings = replace(domain.catalogue, path=at(domain.catalogue.path))
    return replace(domain, path=at(domain.path), catalogue=catalogue)
