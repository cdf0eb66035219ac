"""Lists and truth in; metrics with intervals, the transfer report and the guard's decisions out."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.frames.evaluation.catalogue_metrics import (
    DIVERSITY_MEASURES,
    keep_sampled_users,
    novelty_measures,
    to_coverage,
    to_diversity,
    to_list_sums,
    to_novelty,
    with_surprise,
)
from crossrec_core.frames.evaluation.click_metrics import (
    CLICK_MEASURES,
    click_statistics,
    count_pair_users,
    to_atoms,
    to_click_sums,
    to_reliability,
    to_thresholds,
    to_user_clicks,
    with_all_domains,
)
from crossrec_core.frames.evaluation.intervals import BUCKET, means, to_bucket_sums, with_intervals
from crossrec_core.frames.evaluation.metrics import (
    Measure,
    count_users_without_list,
    ranking_measures,
    to_user_metrics,
    to_user_values,
)
from crossrec_core.frames.evaluation.transfer import (
    GUARDED,
    Decision,
    decide,
    lone_decision,
    to_transfer_report,
    transfer_comparison,
)
from crossrec_core.frames.spark.session import hashed_joins
from crossrec_core.frames.spark.storage import read_table, write_table
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import EvaluateSettings, Settings
from jobs.steps import Night, step_command

TESTED = {c.PURPOSE: (c.VALIDATE, c.BACKTEST)}
HELD_BACK = {c.PURPOSE: c.BACKTEST}
WITHOUT_LIST = "users_without_list"
EXCLUDE_SEEN = "exclude_seen"


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Measure every model against the truth, compare them, and let the guard choose per target domain."""
    with hashed_joins(spark):
        return measure(settings, night, spark)


def measure(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """The tables of the step, one after the other; what several read is made once."""
    evaluate = settings.evaluate
    recommendations = read_table(spark, night.lake, t.RECOMMENDATIONS, run_id=night.run_id, where=TESTED)
    truth = read_table(spark, night.lake, t.TRUTH, run_id=night.run_id, where=TESTED)
    user_values = to_user_values(recommendations, truth, lists=evaluate.n).persist(StorageLevel.DISK_ONLY)
    available = fitted_models(settings, night)
    intervals = rank_intervals(user_values, evaluate, {model for own in available.values() for model in own}).persist()
    decisions = guard(intervals, evaluate, available, strategies_tried(settings, night))
    pairs = read_table(spark, night.lake, t.PAIR_PROBABILITIES, run_id=night.run_id, where=TESTED)
    pooled = with_all_domains(pairs)
    atoms = to_atoms(pooled, num_buckets=evaluate.bootstrap_buckets, seed=evaluate.seed).persist(StorageLevel.DISK_ONLY)
    metrics = to_metrics(intervals).unionByName(click_metrics(pooled, atoms, evaluate))
    metrics = metrics.unionByName(catalogue_metrics(evaluate, night, spark))
    users = to_user_metrics(user_values, lists=evaluate.n, keep=[evaluate.guard_n])
    users = users.unionByName(to_user_clicks(pairs.where(F.col(c.PURPOSE) == c.BACKTEST), truth))
    counts = {
        t.USER_METRICS.name: _write(users, t.USER_METRICS, night),
        t.METRICS.name: _write(metrics, t.METRICS, night),
        t.RELIABILITY.name: _write(to_reliability(atoms.where(F.col(c.PURPOSE) == c.BACKTEST)), t.RELIABILITY, night),
        t.TRANSFER_REPORT.name: write_report(intervals, decisions, evaluate, night, spark),
        t.DATA_QUALITY.name: write_quality(recommendations, truth, settings, night, spark),
    }
    atoms.unpersist()
    user_values.unpersist()
    intervals.unpersist()
    return counts


def rank_intervals(user_values: DataFrame, evaluate: EvaluateSettings, models: Iterable[str]) -> DataFrame:
    """Ranking metrics of every model, and of the compared pairs, per purpose, domain and segment."""
    measures = ranking_measures(evaluate.n)
    sums = to_bucket_sums(
        user_values, num_measures=len(measures), num_buckets=evaluate.bootstrap_buckets, seed=evaluate.seed
    )
    comparison = transfer_comparison(models, evaluate.n, guard_metric=evaluate.guard_metric, guard_n=evaluate.guard_n)
    return with_intervals(
        sums, measures, means, samples=evaluate.bootstrap_samples, seed=evaluate.seed, comparison=comparison
    )


def click_metrics(pairs: DataFrame, atoms: DataFrame, evaluate: EvaluateSettings) -> DataFrame:
    """Rows of metrics about the probabilities; thresholds come from the validation pairs."""
    num_buckets, seed = evaluate.bootstrap_buckets, evaluate.seed
    thresholds = to_thresholds(atoms.where(F.col(c.PURPOSE) == c.VALIDATE))
    sums = to_click_sums(atoms.where(F.col(c.PURPOSE) == c.BACKTEST), thresholds)
    users = count_pair_users(pairs.where(F.col(c.PURPOSE) == c.BACKTEST), num_buckets=num_buckets, seed=seed)
    with_users = sums.join(users, [c.PURPOSE, c.DOMAIN, c.MODEL, BUCKET], how="inner")
    samples = evaluate.bootstrap_samples
    return to_metrics(with_intervals(with_users, CLICK_MEASURES, click_statistics, samples=samples, seed=seed))


def catalogue_metrics(evaluate: EvaluateSettings, night: Night, spark: SparkSession) -> DataFrame:
    """Rows of metrics about the catalogue: coverage, novelty, and diversity where the items have vectors."""
    listed = read_table(spark, night.lake, t.RECOMMENDATIONS, run_id=night.run_id, where=HELD_BACK)
    listed = listed.where(F.col(c.RANK) <= max(evaluate.n))
    popularity = read_table(spark, night.lake, t.ITEM_POPULARITY, run_id=night.run_id, where=HELD_BACK)
    features = read_table(spark, night.lake, t.ITEM_FEATURES, run_id=night.run_id)
    histories = read_table(spark, night.lake, t.HISTORIES, run_id=night.run_id, where=HELD_BACK)
    known_users = histories.groupBy(c.PURPOSE, c.DOMAIN).agg(F.count(F.lit(1)).alias("known_users"))
    places = with_surprise(listed, popularity, features, known_users)
    no_interval = F.lit(None).cast("double")
    coverage = to_coverage(listed, popularity, lists=evaluate.n).select(
        "*", F.lit(c.ALL).alias(c.SEGMENT), no_interval.alias(c.CI_LOW), no_interval.alias(c.CI_HIGH)
    )
    novelty = list_intervals(to_novelty(places, lists=evaluate.n), novelty_measures(evaluate.n), evaluate)
    found = to_metrics(novelty).unionByName(coverage.drop(c.PURPOSE))
    vectors = one_encoder(read_table(spark, night.lake, t.ITEM_VECTORS, run_id=night.run_id))
    if vectors is None:
        return found
    num_users = listed.select(c.USER_ID).distinct().count()
    sampled = keep_sampled_users(places, num_users=num_users, seed=evaluate.seed)
    diversity = list_intervals(to_diversity(sampled, vectors), DIVERSITY_MEASURES, evaluate)
    return found.unionByName(to_metrics(diversity))


def list_intervals(list_values: DataFrame, measures: Sequence[Measure], evaluate: EvaluateSettings) -> DataFrame:
    """Means over lists with their intervals."""
    num_buckets, seed = evaluate.bootstrap_buckets, evaluate.seed
    sums = to_list_sums(list_values, num_measures=len(measures), num_buckets=num_buckets, seed=seed)
    return with_intervals(sums, measures, means, samples=evaluate.bootstrap_samples, seed=seed)


def one_encoder(item_vectors: DataFrame) -> DataFrame | None:
    """The vectors of the first encoder by name; None where there are none."""
    first = item_vectors.agg(F.min(c.ENCODER)).first()
    encoder = first[0] if first else None
    return None if encoder is None else item_vectors.where(F.col(c.ENCODER) == encoder)


def to_metrics(intervals: DataFrame) -> DataFrame:
    """Intervals of single models on the backtest as rows of metrics, without their run_id."""
    single = F.col(c.BASELINE).isNull() & (F.col(c.PURPOSE) == c.BACKTEST)
    return intervals.where(single).select(*[name for name in t.METRICS.column_names if name != c.RUN_ID])


def guard(
    intervals: DataFrame, evaluate: EvaluateSettings, available: Mapping[str, Sequence[str]], tried: Mapping[str, str]
) -> list[Decision]:
    """The guard's decisions per target domain and segment, from a few rows of validation; ``tried`` ends the reason."""
    asked = (
        (F.col(c.PURPOSE) == c.VALIDATE)
        & F.col(c.SEGMENT).isin(*GUARDED)
        & (F.col(c.METRIC) == evaluate.guard_metric)
        & (F.col(c.N) == evaluate.guard_n)
    )
    rows = intervals.where(asked).collect()
    decisions = decide(
        rows, available, guard_metric=evaluate.guard_metric, guard_n=evaluate.guard_n,
        min_users=evaluate.guard_min_users,
    )  # fmt: skip
    return [replace(found, reason=found.reason + tried.get(found.domain, "")) for found in decisions]


def fitted_models(settings: Settings, night: Night) -> dict[str, list[str]]:
    """Names of the models fitted in this run that make lists, per target domain."""
    found = read_rows(night.lake, t.MODELS, where={c.RUN_ID: night.run_id})
    rows = [row for row in found if row[c.MODEL] != c.STACKED_BASELINES]
    return {domain: sorted({row[c.MODEL] for row in rows if row[c.DOMAIN] == domain}) for domain in settings.targets}


def strategies_tried(settings: Settings, night: Night) -> dict[str, str]:
    """Per target domain, which transfer strategy ``transferred`` is, and what all of them reached on validation."""
    where = {c.RUN_ID: night.run_id, c.PURPOSE: c.VALIDATE, c.MODEL: c.TRANSFERRED}
    told = {}
    for row in read_rows(night.lake, t.MODELS, where=where):
        found = json.loads(row["settings"])
        values = {name: value for name, value in found.get("strategies", {}).items() if value is not None}
        if values and row[c.DOMAIN] in settings.targets:
            listed = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            told[row[c.DOMAIN]] = f"; transferred is {found['strategy']}, by NDCG@10 when it stopped: {listed}"
    return told


def write_report(
    intervals: DataFrame, decisions: list[Decision], evaluate: EvaluateSettings, night: Night, spark: SparkSession
) -> int:
    """Write transfer_report; every decision is on record, also of a segment whose models make no pair."""
    if not decisions:
        return 0
    report = to_transfer_report(intervals, decisions, spark)
    paired = {tuple(row) for row in report.select(c.DOMAIN, c.SEGMENT).distinct().collect()}
    alone = [
        lone_decision(decision, guard_metric=evaluate.guard_metric, guard_n=evaluate.guard_n)
        for decision in decisions
        if (decision.domain, decision.segment) not in paired
    ]
    if alone:
        values = [tuple(row[name] for name in report.columns) for row in alone]
        report = report.unionByName(spark.createDataFrame(values, report.schema))
    return _write(report, t.TRANSFER_REPORT, night)


def write_quality(
    recommendations: DataFrame, truth: DataFrame, settings: Settings, night: Night, spark: SparkSession
) -> int:
    """Add this step's checks to data_quality, which earlier steps of the run have begun; returns how many."""
    missing = count_users_without_list(recommendations, truth).collect()
    checks = [
        {c.DOMAIN: row[c.DOMAIN], "check": f"{WITHOUT_LIST}:{row[c.PURPOSE]}:{row[c.MODEL]}", "value": row[c.NUM_USERS]}
        for row in missing
    ]
    for domain in settings.targets:
        checks.append({c.DOMAIN: domain, "check": EXCLUDE_SEEN, "value": settings.domains[domain].exclude_seen})
    rows = [{**check, c.RUN_ID: night.run_id, "value": float(check["value"])} for check in checks]
    is_own = F.col("check").startswith(WITHOUT_LIST) | (F.col("check") == EXCLUDE_SEEN)
    before = read_table(spark, night.lake, t.DATA_QUALITY, run_id=night.run_id).where(~is_own).collect()
    kept = [row.asDict() for row in before]
    write_rows(night.lake, t.DATA_QUALITY, [*kept, *rows], replace={c.RUN_ID: night.run_id})
    return len(rows)


def _write(frame: DataFrame, table: t.Table, night: Night) -> int:
    return write_table(frame.withColumn(c.RUN_ID, F.lit(night.run_id)), night.lake, table, run_id=night.run_id)


main = step_command("evaluate", run)

if __name__ == "__main__":
    typer.run(main)
