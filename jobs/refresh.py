"""A published run and today's logs in, a publication out: new lists for users whose rows changed, all others carried.

Models, candidates, item numbers and fitted statistics stay those of the whole night that the run stands on; events with
items that it did not know are left out until the next one. What the unchanged users have is not written again: the
publication shows it where it lies.

python jobs/refresh.py --config conf/demo.toml              # those who changed since the published run
python jobs/refresh.py --config conf/demo.toml --every-row  # the same, by a look at every row of the logs
python jobs/refresh.py --config conf/demo.toml --everyone   # all lists anew, by the same models
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.config import parse_config, read_config, shaping_tree
from crossrec_core.delta import live_files, write_rows
from crossrec_core.errors import ConfigError, LakeError
from crossrec_core.frames.logs.clean import split_by_reason
from crossrec_core.frames.logs.fingerprints import with_row_hash
from crossrec_core.frames.prepared.normalise import split_missing
from crossrec_core.frames.prepared.sequences import to_histories, to_sequences
from crossrec_core.frames.prepared.splits import AFTER_TEST, to_known_events
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import parts_of, read_rows
from crossrec_core.ledger import DONE, published_run, read_steps
from crossrec_core.settings import Settings
from jobs import publish
from jobs.changes import (
    arrived_users,
    compared_users,
    log_files,
    write_awaited,
    write_fingerprints,
    write_log_files,
)
from jobs.evaluate import EXCLUDE_SEEN
from jobs.judged_logs import count_by_reason, input_errors, judge, newest_event, quality_rows, read_logs
from jobs.likes import write_likes
from jobs.lists import to_model
from jobs.prepare_events import number_events, split, value_domains, with_spaces, write_names
from jobs.prepare_sequences import in_stable_files, order_only_domains, with_domain_nums
from jobs.serve import choose_models, make_lists
from jobs.steps import (
    AsOfOption,
    ConfigOption,
    Night,
    Run,
    RunIdOption,
    SetOption,
    TracebackOption,
    parse_overrides,
    run_step,
    spark_session,
    start_night,
    summary,
)
from jobs.store import Store

# What the models are and how they fared: a few thousand rows, which readers look for under the published run
TAKEN_OVER = (t.MODELS, t.METRICS, t.TRANSFER_REPORT, t.RELIABILITY)

BaseOption = Annotated[str, typer.Option("--base", help="The run to refresh; default: the published one.")]
EveryRowOption = Annotated[
    bool, typer.Option("--every-row", help="Compare all rows, though files look as they were (by size and moment).")
]
EveryoneOption = Annotated[bool, typer.Option("--everyone", help="Make everyone's lists anew, changed or not.")]


@dataclass(frozen=True)
class Base:
    """The runs that a refreshed one stands on, newest first; the last is a whole night."""

    parts: tuple[str, ...]

    @property
    def whole_night(self) -> str:
        return self.parts[-1]


def main(
    config: ConfigOption,
    run_id: RunIdOption = "",
    as_of: AsOfOption = "",
    base: BaseOption = "",
    every_row: EveryRowOption = False,
    everyone: EveryoneOption = False,
    set_: SetOption = [],  # noqa: B006  (Typer reads the default, nothing changes it)
    traceback: TracebackOption = False,
) -> None:
    """Publish new lists for the users whose rows in the logs have changed, by the models of the last whole night.

    Where every file of the logs that the published run read is as it was, only those that came since are looked into.
    """
    with one_line_errors(traceback):
        settings = read_config(config, overrides=parse_overrides(set_))
        night = start_night(settings, run_id=run_id, as_of=as_of)
        found = find_base(settings, night.lake, base)
        print(f"run {night.run_id} into {night.lake.path}, standing on {found.whole_night}", flush=True)
        refresh = partial(run, base=found, every_row=every_row, everyone=everyone)
        steps: dict[str, Run] = {"refresh": refresh, "publish": publish.run}
        with spark_session(settings) as spark:
            for number, (step, body) in enumerate(steps.items(), 1):
                print(f"[{number}/{len(steps)}] {step} ...", flush=True)
                print(f"[{number}/{len(steps)}] {summary(run_step(step, body, settings, night, spark))}", flush=True)


def find_base(settings: Settings, lake: Lake, run_id: str = "") -> Base:
    """The run to refresh: ``run_id``, or the published one, with all that it stands on.

    Raises:
        LakeError: nothing is published, or the run has no lists or fingerprints.
        ConfigError: settings that shape lists have changed since, or depend on everyone.
    """
    if settings.normalise.min_user_events > 0 or settings.normalise.min_item_events > 0:
        raise ConfigError(
            "normalise.min_user_events, min_item_events: seen a core, which depends on everyone's events; "
            "run jobs/nightly.py"
        )
    published = run_id or published_run(lake)
    if published is None:
        raise LakeError(f"{lake.path}: nothing is published yet; run jobs/nightly.py first")
    base = Base(tuple(parts_of(lake, published)))
    steps = {step.step: step for step in read_steps(lake, base.whole_night)}
    if "serve" not in steps or steps["serve"].state != DONE:
        raise LakeError(
            f"run {base.whole_night}: its lists were not finished; expected a whole night; see `crossrec runs`"
        )
    if not live_files(lake, t.USER_FINGERPRINTS, where={c.RUN_ID: base.whole_night}):
        raise LakeError(f"run {base.whole_night}: an earlier release kept no fingerprints; run jobs/nightly.py once")
    made_with = parse_config(json.loads(steps["serve"].config), where=f"settings of run {base.whole_night}")
    changed = differences(without_paths(made_with), without_paths(settings))
    if changed:
        raise ConfigError(
            f"{', '.join(changed)}: not as in run {base.whole_night}; expected the settings that its models were made "
            "with; put them back, or run jobs/nightly.py"
        )
    return base


def run(
    settings: Settings, night: Night, spark: SparkSession, *,
    base: Base, every_row: bool = False, everyone: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Find who has changed, make their histories, sequences and lists, and note what else the run shows."""
    store = Store(spark, night)
    files = log_files(settings, spark)
    write_log_files(files, store)
    since, newest = newest_event(settings, night_before(night, base)), newest_event(settings, night)
    events = with_row_hash(read_logs(settings, spark), newest=newest)
    with input_errors(settings):
        arrived = None if every_row or everyone else arrived_users(events, files, store, base.parts, since, newest)
        changed = arrived if arrived is not None else compared_users(events, store, base.parts, everyone=everyone)
        changed = changed.persist()
        changed.count()  # what is cached whole has a size, by which Spark plans the join
    judged = judge(events.join(changed.select(c.USER_ID), on=c.USER_ID, how="left_semi"), settings, night).persist()
    try:
        cleaned = split_by_reason(judged)
        counts = store.write(cleaned.rejected, t.REJECTS)
        reasons = count_by_reason(judged)
        write_quality(quality_rows(reasons, spark), store, base)
        write_awaited(judged, reasons, store)
        counts |= write_fingerprints(judged, changed, store)
        counts |= write_known(cleaned.kept, settings, store, base)
    finally:
        judged.unpersist()
        changed.unpersist()
    counts |= take_over(night, base)
    before = replace(night, run_id=base.whole_night)
    chosen = choose_models(settings, before)
    models = [
        to_model(row, chosen[row[c.DOMAIN]][row[c.MODEL]])
        for row in read_rows(night.lake, t.MODELS, where={c.RUN_ID: base.whole_night, c.PURPOSE: c.SERVE})
        if row[c.MODEL] in chosen.get(row[c.DOMAIN], {})
    ]
    counts[t.RECOMMENDATIONS.name] = make_lists(settings, night, spark, models, candidates_run=base.whole_night)
    rows = [
        {c.RUN_ID: night.run_id, c.PART_RUN_ID: part, c.PLACE: place}
        for place, part in enumerate((night.run_id, *base.parts))
    ]
    write_rows(night.lake, t.RUN_PARTS, rows, replace={c.RUN_ID: night.run_id})
    return counts


def night_before(night: Night, base: Base) -> Night:
    """The night that the newest run of ``base`` was made for."""
    run_id = base.parts[0]
    return replace(night, run_id=run_id, run_date=read_steps(night.lake, run_id)[0].run_date)


def write_quality(rows: DataFrame, store: Store, base: Base) -> None:
    """What was read, kept and rejected of these users, and which domains may repeat what a user has."""
    before = read_table(store.spark, store.night.lake, t.DATA_QUALITY, run_id=base.whole_night)
    store.write(rows.unionByName(before.where(F.col("check") == EXCLUDE_SEEN).drop(c.RUN_ID)), t.DATA_QUALITY)


def write_known(interactions: DataFrame, settings: Settings, store: Store, base: Base) -> dict[str, int]:
    """Histories, likes and sequences of these users, with all that is known for serve."""
    if settings.normalise.fill == "drop":
        interactions = split_missing(interactions, domains=value_domains(settings)).kept
    users = with_spaces(interactions, settings).select(c.USER_SPACE, c.USER_ID)
    counts = write_names(users, t.USER_IDS, c.USER_SPACE, c.USER_ID, c.USER_NUM, store)
    listed = read_table(store.spark, store.night.lake, t.ITEM_FEATURES, run_id=base.whole_night)
    items = with_spaces(listed, settings).select(c.ITEM_SPACE, c.ITEM_ID, c.ITEM_NUM).distinct()
    events = number_events(interactions, settings, store, items=items)
    # Only a cut by date leaves something out for good; serve knows all other events, whatever they were held out for
    events = split(events, settings) if settings.split.cut else events.withColumn(c.SPLIT, F.lit(c.TRAIN))
    known = events.where(F.col(c.SPLIT) != AFTER_TEST).cache()
    try:
        served = to_known_events(known, [c.SERVE])
        counts |= store.write(to_histories(served), t.HISTORIES)
        counts |= write_likes(served, (t.USER_LIKES,), settings, store)
        sequences = to_sequences(
            with_domain_nums(known, store), purposes=[c.SERVE], order_only=order_only_domains(settings),
            max_len=settings.sequences.max_len, session_gap_minutes=settings.sequences.session_gap_minutes,
        )  # fmt: skip
        return counts | store.write(in_stable_files(sequences, [c.PURPOSE, c.USER_NUM, c.CLOCK], settings), t.SEQUENCES)
    finally:
        known.unpersist()


def take_over(night: Night, base: Base) -> dict[str, int]:
    """The small tables of the whole night, under this run's name too."""
    counts = {}
    for table in TAKEN_OVER:
        rows = read_rows(night.lake, table, where={c.RUN_ID: base.whole_night})
        own = [{**row, c.RUN_ID: night.run_id} for row in rows]
        counts[table.name] = write_rows(night.lake, table, own, replace={c.RUN_ID: night.run_id})
    return counts


def without_paths(settings: Settings) -> Settings:
    """The settings but for where the logs and catalogues lie: another file of the same rows changes nobody."""
    return replace(
        settings,
        domains={
            name: replace(domain, path="", catalogue=replace(domain.catalogue, path=""))
            for name, domain in settings.domains.items()
        },
    )


def differences(one: Settings, other: Settings) -> list[str]:
    """The dotted names of the settings that shape results and differ."""

    def compare(name: str, left: Any, right: Any) -> list[str]:
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys = sorted({*left, *right})
            return [found for key in keys for found in compare(f"{name}.{key}", left.get(key), right.get(key))]
        return [] if left == right else [name.lstrip(".")]

    return compare("", shaping_tree(one), shaping_tree(other))


if __name__ == "__main__":
    typer.run(main)
