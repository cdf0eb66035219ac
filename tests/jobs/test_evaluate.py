"""The whole job on a random lake, against plain Python; one Spark run for the file."""

from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.frames.evaluation.click_metrics import USER_SUMS
from crossrec_core.frames.prepared.segments import SEGMENTS
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake import Lake
from crossrec_core.settings import Settings
from jobs import evaluate
from jobs.steps import Night
from tests.lake_oracle import differences, expected_metrics

pytestmark = pytest.mark.spark

RUN = "r1"
NUM_LISTED = 10
LISTS = (3, 10)
DOMAINS = {"films": ("popularity", "markov", "target_only", "transferred"), "books": ("popularity", "transferred")}
SETTINGS = """
[domains.films]
path = "films.csv"
[domains.books]
path = "books.csv"
exclude_seen = false
[evaluate]
n = [3, 10]
bootstrap_samples = 50
bootstrap_buckets = 20
guard_min_users = 12
"""
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class World:
    """What the job was given, as plain rows, and where it wrote."""

    rows: dict[str, Rows]
    lake: Lake
    settings: Settings
    counts: dict[str, int]


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("evaluate")
    settings = random_settings(folder)
    lake = Lake(str(folder / "lake"))
    rows = random_rows(Random(5))
    for name, table_rows in rows.items():
        write_rows(lake, t.ALL_TABLES[name], [{c.RUN_ID: RUN, **row} for row in table_rows])
    counts = evaluate.run(settings, Night(RUN, date(2026, 1, 31), lake), spark)
    return World(rows, lake, settings, counts)


def random_settings(folder: Path) -> Settings:
    (folder / "conf.toml").write_text(SETTINGS)
    return read_config(folder / "conf.toml")


def random_rows(random: Random) -> dict[str, Rows]:
    """Two domains, two purposes, a few models; some users have no list, some items no vector, many scores tie."""
    rows: dict[str, Rows] = {
        name: [] for name in ("recommendations", "truth", "pair_probabilities", "item_popularity", "item_features",
                              "item_vectors", "histories", "models", "data_quality")
    }  # fmt: skip
    items = {domain: [f"{domain[0]}{number}" for number in range(30)] for domain in DOMAINS}
    for domain, purpose in product(DOMAINS, (c.VALIDATE, c.BACKTEST)):
        users = {f"u{number}": random.choice([c.WARM, c.WARM, c.COLD_IN_DOMAIN, c.NEW]) for number in range(40)}
        keys = {c.PURPOSE: purpose, c.DOMAIN: domain}
        rows["truth"] += random_truth(random, keys, users, items[domain])
        rows["item_popularity"] += [
            {**keys, c.ITEM_NUM: number_of(item), c.NUM_EVENTS: 9, c.NUM_USERS: random.randrange(7), c.WEIGHT: 1.0,
             c.RECENT_WEIGHT: 1.0, c.TREND_WEIGHTS: [1.0], c.IS_HEAD: False}
            for item in items[domain]
        ]  # fmt: skip
        rows["histories"] += [
            {**keys, c.USER_NUM: number, c.ITEM_NUMS: [1], c.NUM_EVENTS: 1, c.LAST_EVENT_ORDER: 0}
            for number in range(8)
        ]
        for model in DOMAINS[domain]:
            rows["recommendations"] += random_lists(random, {**keys, c.MODEL: model}, users, items[domain])
            rows["pair_probabilities"] += random_pairs(random, {**keys, c.MODEL: model}, items[domain])
    for item in items["films"] + items["books"]:
        rows["item_features"].append(
            {c.DOMAIN: "films" if item[0] == "f" else "books", c.ITEM_NUM: number_of(item), c.ITEM_ID: item,
             c.TITLE: None, c.TEXT: None, c.CATEGORIES: [], c.NUMERICS: {}, c.LABELS: {}}
        )  # fmt: skip
        if random.random() < 0.8:
            vector = [random.gauss(0, 1) for _ in range(4)]
            length = sum(entry * entry for entry in vector) ** 0.5
            unit = [entry / length for entry in vector]
            rows["item_vectors"].append({c.ENCODER: "tfidf", c.ITEM_NUM: number_of(item), c.VECTOR: unit})
    rows["models"] = [
        {c.PURPOSE: c.SERVE, c.MODEL: model, c.DOMAIN: domain, c.KIND: "neural", "location": "", "settings": "{}",
         "valid_ndcg": None, "seconds": 1.0}
        for domain, models in DOMAINS.items() for model in models
    ]  # fmt: skip
    rows["data_quality"] = [{c.DOMAIN: "films", "check": "rows_read", "value": 7.0}]
    return rows


def number_of(item: str) -> int:
    return int(item[1:]) + (1 if item[0] == "f" else 101)


def random_truth(random: Random, keys: dict[str, str], users: dict[str, str], items: list[str]) -> Rows:
    rows = []
    for user, segment in users.items():
        for item in random.sample(items, random.choice([1, 2, 5, 12])):
            is_known = number_of(item) % 3 > 0
            rows.append(
                {**keys, c.USER_ID: user, c.ITEM_ID: item, c.USER_NUM: 1, c.ITEM_NUM: number_of(item),
                 c.SEGMENT: segment, c.IS_KNOWN_ITEM: is_known, c.IS_HEAD: is_known and number_of(item) % 2 == 0}
            )  # fmt: skip
    return rows


def random_lists(random: Random, keys: dict[str, str], users: dict[str, str], items: list[str]) -> Rows:
    listed = [user for user, segment in users.items() if segment != c.NEW and random.random() < 0.9]
    return [
        {**keys, c.RUN_DATE: date(2026, 1, 31), c.USER_ID: user, c.ITEM_ID: item, c.RANK: rank, c.SCORE: -float(rank),
         c.PROBABILITY: None, c.PATH: c.OWN_HISTORY}
        for user in [*listed, c.NEW_USER_ID]
        for rank, item in enumerate(random.sample(items, random.choice([NUM_LISTED, 2])), start=1)
    ]  # fmt: skip


def random_pairs(random: Random, keys: dict[str, str], items: list[str]) -> Rows:
    rows = []
    for user, item in product((f"u{number}" for number in range(12)), items[:6]):
        probability = random.choice([0.0, 0.25, 0.2505, 0.5, 1.0, random.random()])
        label = int(random.random() < 0.2 + 0.5 * probability)
        rows.append({**keys, c.USER_ID: user, c.ITEM_ID: item, c.LABEL: label, c.PROBABILITY: probability})
    return rows


def written(spark: SparkSession, world: World, table: t.Table) -> pd.DataFrame:
    return read_table(spark, world.lake, table, run_id=RUN).toPandas()


def listed_by(world: World, purpose: str, model: str, domain: str) -> dict[str, list[str]]:
    keys = {c.PURPOSE: purpose, c.MODEL: model, c.DOMAIN: domain}
    lists: dict[str, list[str]] = {}
    for row in world.rows["recommendations"]:
        if all(row[name] == value for name, value in keys.items()):
            lists.setdefault(row[c.USER_ID], []).append(row[c.ITEM_ID])
    return lists


def test_every_metric_equals_the_oracle(world: World) -> None:
    expected = expected_metrics(world.lake, RUN, lists=LISTS, in_diversity=lambda user: True)
    assert {metric.split("_")[0] for _, _, _, metric, _ in expected} >= {"recall", "click", "coverage", "diversity"}
    assert {segment for _, _, segment, _, _ in expected} == {segment.name for segment in SEGMENTS}
    assert differences(world.lake, RUN, expected) == []


def test_user_metrics_hold_each_users_own_segment_at_the_guards_n(spark: SparkSession, world: World) -> None:
    stored = written(spark, world, t.USER_METRICS)
    assert not stored.duplicated(list(t.USER_METRICS.key)).any()
    rows = stored[~stored.metric.isin(USER_SUMS)]
    assert set(rows.n) == {world.settings.evaluate.guard_n}
    assert set(rows.segment) == {
        c.WARM,
        c.COLD_IN_DOMAIN,
        c.NEW,
        c.KNOWN_ITEMS,
        c.HEAD_ITEMS,
        c.TAIL_ITEMS,
        c.COLD_ITEMS,
    }
    assert not rows.duplicated(list(t.USER_METRICS.key)).any()
    of_all = rows[(rows.purpose == c.BACKTEST) & rows.segment.isin([c.WARM, c.COLD_IN_DOMAIN, c.NEW])]
    means = of_all.groupby([c.MODEL, c.DOMAIN, c.METRIC])["value"].mean()
    metrics = written(spark, world, t.METRICS).set_index([c.SEGMENT, c.N, c.MODEL, c.DOMAIN, c.METRIC])["value"]
    for key, seen in means.items():
        assert seen == pytest.approx(metrics[(c.ALL, 10, *key)], abs=1e-9)


def test_user_metrics_hold_the_sums_that_click_metrics_are_means_of(spark: SparkSession, world: World) -> None:
    stored = written(spark, world, t.USER_METRICS)
    rows = stored[stored.metric.isin(USER_SUMS)]
    assert set(rows.purpose) == {c.BACKTEST}
    assert set(rows.n) == {0}
    segments = {(row[c.PURPOSE], row[c.DOMAIN], row[c.USER_ID]): row[c.SEGMENT] for row in world.rows["truth"]}
    assert all(segments[row.purpose, row.domain, row.user_id] == row.segment for row in rows.itertuples())
    sums = rows.pivot_table(index=[c.MODEL, c.DOMAIN], columns=c.METRIC, values="value", aggfunc="sum")
    metrics = written(spark, world, t.METRICS).set_index([c.METRIC, c.MODEL, c.DOMAIN])["value"].sort_index()
    for (model, domain), found in sums.iterrows():
        for metric in ("click_log_loss", "click_brier"):
            mean = found[f"{metric}_sum"] / found["click_pairs"]
            assert mean == pytest.approx(metrics[metric, model, domain])
        assert found["click_positives"] / found["click_pairs"] == pytest.approx(
            metrics["click_base_rate", model, domain]
        )


def test_reliability_holds_what_the_calibration_error_is_made_of(spark: SparkSession, world: World) -> None:
    bins = written(spark, world, t.RELIABILITY)
    assert not bins.duplicated(list(t.RELIABILITY.key)).any()
    assert set(bins.domain) == {*DOMAINS, c.ALL}
    metrics = written(spark, world, t.METRICS).set_index([c.METRIC, c.MODEL, c.DOMAIN])["value"].sort_index()
    pairs = [row for row in world.rows["pair_probabilities"] if row[c.PURPOSE] == c.BACKTEST]
    for (model, domain), own in bins.groupby([c.MODEL, c.DOMAIN]):
        labels = [row[c.LABEL] for row in pairs if row[c.MODEL] == model and domain in (c.ALL, row[c.DOMAIN])]
        assert (own.pairs.sum(), own.positives.sum()) == (len(labels), sum(labels))
        gap = (own.pairs * (own.mean_probability - own.click_rate).abs()).sum() / own.pairs.sum()
        assert gap == pytest.approx(metrics["click_ece", model, domain])
        ordered = own.sort_values("bin")
        assert (ordered.highest.shift().iloc[1:] < ordered.lowest.iloc[1:]).all()
        assert own.mean_probability.between(own.lowest - 1e-12, own.highest + 1e-12).all()


def test_intervals_hold_their_value_and_coverage_has_none(spark: SparkSession, world: World) -> None:
    metrics = written(spark, world, t.METRICS)
    assert not metrics.duplicated(list(t.METRICS.key)).any()
    assert metrics[metrics.metric == "coverage"].ci_low.isna().all()
    ranking = metrics[metrics.metric == "recall"]
    assert (ranking.ci_low <= ranking.value).all()
    assert (ranking.value <= ranking.ci_high).all()
    auc = metrics[metrics.metric == "click_auc"]
    assert ((auc.ci_low < auc.value) & (auc.value < auc.ci_high)).all()


def test_the_report_pairs_models_and_carries_one_decision_per_domain_and_segment(
    spark: SparkSession, world: World
) -> None:
    report = written(spark, world, t.TRANSFER_REPORT)
    assert not report.duplicated(list(t.TRANSFER_REPORT.key)).any()
    assert set(report.purpose) == {c.VALIDATE, c.BACKTEST}
    assert (report.groupby([c.DOMAIN, c.SEGMENT])[["decision", c.REASON]].nunique() == 1).all(axis=None)
    assert {(*row,) for row in report[[c.DOMAIN, c.SEGMENT]].itertuples(index=False)} == {
        (domain, segment.name) for domain in DOMAINS for segment in SEGMENTS
    }  # fmt: skip
    pairs = set(zip(report.model[report.domain == "films"], report.baseline[report.domain == "films"], strict=True))
    assert pairs == {
        ("transferred", "target_only"), ("transferred", "markov"), ("transferred", "popularity"),
        ("target_only", "markov"), ("target_only", "popularity"),
    }  # fmt: skip
    metrics = written(spark, world, t.METRICS).set_index([c.MODEL, c.DOMAIN, c.SEGMENT, c.METRIC, c.N])["value"]
    for row in report[report.purpose == c.BACKTEST].itertuples():
        key = (row.domain, row.segment, row.metric, row.n)
        assert row.difference == pytest.approx(metrics[row.model, *key] - metrics[row.baseline, *key], abs=1e-9)
        assert row.ci_low <= row.ci_high


def test_a_segment_with_enough_users_decides_for_itself_and_any_other_as_its_domain(
    spark: SparkSession, world: World
) -> None:
    report = written(spark, world, t.TRANSFER_REPORT).drop_duplicates([c.DOMAIN, c.SEGMENT])
    decided = {(row.domain, row.segment): (row.decision, row.reason) for row in report.itertuples()}
    floor = world.settings.evaluate.guard_min_users
    judged = []
    for domain, segment in product(DOMAINS, c.USER_SEGMENTS):
        users = {
            row[c.USER_ID] for row in world.rows["truth"]
            if (row[c.PURPOSE], row[c.DOMAIN], row[c.SEGMENT]) == (c.VALIDATE, domain, segment)
        }  # fmt: skip
        (model, reason), (whole, _) = decided[domain, segment], decided[domain, c.ALL]
        judged.append(len(users) >= floor)
        if len(users) >= floor:
            assert reason.startswith(f"ndcg@10 on {len(users)} {segment} validation users: ")
        else:
            assert model == whole
            assert reason.startswith(f"{len(users)} {segment} validation users, fewer than {floor}: as the whole")
    assert set(judged) == {True, False}
    assert decided["films", "known_items_warm"] == decided["films", c.WARM]
    assert decided["films", c.TAIL_ITEMS] == decided["films", c.ALL]


def test_data_quality_keeps_what_earlier_steps_wrote(spark: SparkSession, world: World) -> None:
    rows = written(spark, world, t.DATA_QUALITY)
    value = {(row.domain, row.check): row.value for row in rows.itertuples()}
    assert value["films", "rows_read"] == 7.0
    assert (value["films", "exclude_seen"], value["books", "exclude_seen"]) == (1.0, 0.0)
    truth = {
        row[c.USER_ID]
        for row in world.rows["truth"]
        if (row[c.PURPOSE], row[c.DOMAIN]) == (c.BACKTEST, "films") and row[c.SEGMENT] != c.NEW
    }
    missing = truth - listed_by(world, c.BACKTEST, "markov", "films").keys()
    assert value["films", "users_without_list:backtest:markov"] == len(missing) > 0


def test_lists_meet_their_truth_in_hash_tables(
    spark: SparkSession, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold"
    usual, seen = spark.conf.get(option), []
    monkeypatch.setattr(evaluate, "measure", lambda settings, night, spark: seen.append(spark.conf.get(option)) or {})
    evaluate.run(world.settings, Night(RUN, date(2026, 1, 31), world.lake), spark)
    assert seen == ["64m"]
    assert spark.conf.get(option) == usual


def test_counts_are_the_rows_written(spark: SparkSession, world: World) -> None:
    assert world.counts["metrics"] == len(written(spark, world, t.METRICS))
    assert world.counts["user_metrics"] == len(written(spark, world, t.USER_METRICS))
    assert world.counts["transfer_report"] == len(written(spark, world, t.TRANSFER_REPORT))
