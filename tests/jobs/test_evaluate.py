"""The whole job on a random lake, against plain Python; one Spark run for the file."""

from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.frames.segments import SEGMENTS
from crossrec_core.frames.storage import read_table
from crossrec_core.lake import Lake
from crossrec_core.settings import Settings
from jobs import evaluate
from jobs.steps import Night
from tests import oracles

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
             c.IS_HEAD: False}
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


def test_ranking_metrics_equal_the_oracle_in_every_segment(spark: SparkSession, world: World) -> None:
    metrics = written(spark, world, t.METRICS)
    value = {(r.model, r.domain, r.segment, r.metric, r.n): (r.value, r.num_users) for r in metrics.itertuples()}
    for domain, models in DOMAINS.items():
        truth = [r for r in world.rows["truth"] if r[c.PURPOSE] == c.BACKTEST and r[c.DOMAIN] == domain]
        for model, segment, n in product(models, SEGMENTS, LISTS):
            lists = listed_by(world, c.BACKTEST, model, domain)
            wanted = by_user([r for r in truth if r[c.SEGMENT] in segment.users and is_of_kind(r, segment.items)])
            per_user = [
                oracles.ranking_values(lists.get(c.NEW_USER_ID if is_new else user, []), items, n)
                for (user, is_new), items in wanted.items()
            ]
            for metric in per_user[0]:
                seen, num_users = value[model, domain, segment.name, metric, n]
                assert seen == pytest.approx(mean(values[metric] for values in per_user), abs=1e-9)
                assert num_users == len(per_user)


def by_user(truth: Rows) -> dict[tuple[str, bool], set[str]]:
    items: dict[tuple[str, bool], set[str]] = {}
    for row in truth:
        items.setdefault((row[c.USER_ID], row[c.SEGMENT] == c.NEW), set()).add(row[c.ITEM_ID])
    return items


def is_of_kind(row: dict[str, Any], kind: str) -> bool:
    known, head = row[c.IS_KNOWN_ITEM], row[c.IS_HEAD]
    return {c.ALL: True, c.KNOWN_ITEMS: known, c.HEAD_ITEMS: known and head, c.TAIL_ITEMS: known and not head}[kind]


def test_user_metrics_hold_each_users_own_segment_at_the_guards_n(spark: SparkSession, world: World) -> None:
    rows = written(spark, world, t.USER_METRICS)
    assert set(rows.n) == {world.settings.evaluate.guard_n}
    assert set(rows.segment) == {c.WARM, c.COLD_IN_DOMAIN, c.NEW, c.KNOWN_ITEMS, c.HEAD_ITEMS, c.TAIL_ITEMS}
    assert not rows.duplicated(list(t.USER_METRICS.key)).any()
    of_all = rows[(rows.purpose == c.BACKTEST) & rows.segment.isin([c.WARM, c.COLD_IN_DOMAIN, c.NEW])]
    means = of_all.groupby([c.MODEL, c.DOMAIN, c.METRIC])["value"].mean()
    metrics = written(spark, world, t.METRICS).set_index([c.SEGMENT, c.N, c.MODEL, c.DOMAIN, c.METRIC])["value"]
    for key, seen in means.items():
        assert seen == pytest.approx(metrics[(c.ALL, 10, *key)], abs=1e-9)


def test_click_metrics_equal_the_oracle(spark: SparkSession, world: World) -> None:
    metrics = written(spark, world, t.METRICS)
    for domain, models in DOMAINS.items():
        for model in models:
            labels, probabilities = pairs_of(world, c.BACKTEST, model, domain)
            threshold = oracles.best_f1_threshold(*pairs_of(world, c.VALIDATE, model, domain))
            rate = sum(labels) / len(labels)
            expected = {
                "auc": oracles.auc(labels, probabilities),
                "log_loss": oracles.log_loss(labels, probabilities),
                "brier": oracles.brier(labels, probabilities),
                "ece": oracles.calibration_error(labels, probabilities),
                **oracles.threshold_values(labels, probabilities, threshold),
                "base_rate": rate,
                "best_constant_log_loss": oracles.log_loss(labels, [rate] * len(labels)),
                "best_constant_brier": oracles.brier(labels, [rate] * len(labels)),
                "best_constant_accuracy": max(rate, 1 - rate),
            }
            rows = metrics[(metrics.model == model) & (metrics.domain == domain) & (metrics.n == 0)]
            seen = {str(row.metric).removeprefix("click_"): row.value for row in rows.itertuples()}
            assert seen == pytest.approx(expected, abs=1e-9)
            assert set(rows.num_users) == {12}


def pairs_of(world: World, purpose: str, model: str, domain: str) -> tuple[list[int], list[float]]:
    rows = [
        row for row in world.rows["pair_probabilities"]
        if (row[c.PURPOSE], row[c.MODEL], row[c.DOMAIN]) == (purpose, model, domain)
    ]  # fmt: skip
    return [row[c.LABEL] for row in rows], [row[c.PROBABILITY] for row in rows]


def test_catalogue_metrics_equal_the_oracle(spark: SparkSession, world: World) -> None:
    metrics = written(spark, world, t.METRICS)
    value = {(r.model, r.domain, r.metric, r.n): r.value for r in metrics[metrics.segment == c.ALL].itertuples()}
    id_of = {row[c.ITEM_NUM]: row[c.ITEM_ID] for row in world.rows["item_features"]}
    vectors = {id_of[row[c.ITEM_NUM]]: as_float32(row[c.VECTOR]) for row in world.rows["item_vectors"]}
    for domain, models in DOMAINS.items():
        popularity = {
            id_of[row[c.ITEM_NUM]]: row[c.NUM_USERS]
            for row in world.rows["item_popularity"]
            if row[c.PURPOSE] == c.BACKTEST and row[c.DOMAIN] == domain
        }
        for model in models:
            by_user = listed_by(world, c.BACKTEST, model, domain)
            lists = [listed for user, listed in by_user.items() if user != c.NEW_USER_ID]
            for n in LISTS:
                expected = mean(oracles.novelty(listed, popularity, 8, n) for listed in lists)
                assert value[model, domain, "novelty", n] == pytest.approx(expected, abs=1e-9)
                assert value[model, domain, "coverage", n] == oracles.coverage(lists, popularity, n)
            known = [d for listed in lists if (d := oracles.diversity(listed, vectors, 10)) is not None]
            assert value[model, domain, "diversity", 10] == pytest.approx(mean(known), abs=1e-9)


def as_float32(vector: list[float]) -> list[float]:
    return pd.Series(vector, dtype="float32").astype(float).to_list()


def test_intervals_hold_their_value_and_coverage_has_none(spark: SparkSession, world: World) -> None:
    metrics = written(spark, world, t.METRICS)
    assert not metrics.duplicated(list(t.METRICS.key)).any()
    assert metrics[metrics.metric == "coverage"].ci_low.isna().all()
    ranking = metrics[metrics.metric == "recall"]
    assert (ranking.ci_low <= ranking.value).all()
    assert (ranking.value <= ranking.ci_high).all()
    auc = metrics[metrics.metric == "click_auc"]
    assert ((auc.ci_low < auc.value) & (auc.value < auc.ci_high)).all()


def test_the_report_pairs_models_and_carries_one_decision_per_domain(spark: SparkSession, world: World) -> None:
    report = written(spark, world, t.TRANSFER_REPORT)
    assert not report.duplicated(list(t.TRANSFER_REPORT.key)).any()
    assert set(report.purpose) == {c.VALIDATE, c.BACKTEST}
    assert (report.groupby(c.DOMAIN).decision.nunique() == 1).all()
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


def test_counts_are_the_rows_written(spark: SparkSession, world: World) -> None:
    assert world.counts["metrics"] == len(written(spark, world, t.METRICS))
    assert world.counts["user_metrics"] == len(written(spark, world, t.USER_METRICS))
    assert world.counts["transfer_report"] == len(written(spark, world, t.TRANSFER_REPORT))
