"""Every SQL file gives the same rows on DuckDB and on Spark, and every check sees the fault it is for."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import arrow_schema

SQL = Path(__file__).resolve().parents[1] / "sql"
VIEWS, CHECKS, REPORTS = (sorted((SQL / kind).glob("*.sql")) for kind in ("views", "checks", "reports"))
NIGHTS = {"r1": datetime(2026, 1, 1, 3, tzinfo=UTC), "r2": datetime(2026, 1, 2, 3, tzinfo=UTC)}
DOMAIN_OF = {1: "films", 2: "films", 3: "films", 4: "films", 11: "books", 12: "books", 13: "books"}
Rows = dict[str, list[dict[str, Any]]]
Ask = Callable[[str], list[dict[str, Any]]]


def sound_rows() -> Rows:
    """Two published nights of two domains; books may repeat what a user has seen. Two users, one name in two spaces."""
    rows: Rows = {name: [] for name in t.ALL_TABLES}
    rows["user_ids"] = [
        {c.RUN_ID: "r1", c.USER_SPACE: space, c.USER_ID: user, c.USER_NUM: num}
        for space, user, num in (("shared", "ann", 1), ("shared", "bob", 2), ("other", "ann", 3))
    ]
    for run_id, night in NIGHTS.items():
        rows["publications"].append({c.RUN_ID: run_id, "published_at": night, "kind": "publish", "lake_version": 1})
        for name, table_rows in rows_of_night(night.date()).items():
            rows[name] += [{c.RUN_ID: run_id, **row} for row in table_rows]
    return rows


def rows_of_night(night: date) -> Rows:
    history = {c.PURPOSE: c.SERVE, c.LAST_EVENT_ORDER: 0}
    lists = {("ann", "films"): [2, 3], ("bob", "films"): [3, 2], ("ann", "books"): [11, 13], ("bob", "books"): [12, 11]}
    return {
        "runs": [
            {"step": step, "state": "done", c.RUN_DATE: night, "config_hash": "", "config": "{}", "inputs": "{}",
             "versions": "{}", "row_counts": "{}", "started_at": NIGHTS["r1"], "seconds": 1.0, "peak_memory_mib": 1.0,
             "message": None}
            for step in ("clean", "publish")
        ],
        "item_features": [
            {c.DOMAIN: domain, c.ITEM_NUM: num, c.ITEM_ID: f"i{num}", c.TITLE: None if num == 3 else f"Title {num}",
             c.TEXT: None, c.CATEGORIES: [], c.NUMERICS: {}, c.LABELS: {}}
            for num, domain in DOMAIN_OF.items()
        ],
        "item_popularity": [
            {c.PURPOSE: purpose, c.DOMAIN: domain, c.ITEM_NUM: num, c.NUM_EVENTS: 1, c.NUM_USERS: 1, c.WEIGHT: 1.0,
             c.RECENT_WEIGHT: 1.0, c.TREND_WEIGHTS: [1.0], c.IS_HEAD: True}
            for num, domain in DOMAIN_OF.items() for purpose in (c.BACKTEST, c.SERVE) if num != 4
        ],
        "histories": [
            {**history, c.DOMAIN: "films", c.USER_NUM: 1, c.ITEM_NUMS: [1], c.NUM_EVENTS: 1},
            {**history, c.DOMAIN: "books", c.USER_NUM: 1, c.ITEM_NUMS: [11, 12], c.NUM_EVENTS: 2},
            {**history, c.DOMAIN: "films", c.USER_NUM: 3, c.ITEM_NUMS: [4], c.NUM_EVENTS: 1},
        ],
        "recommendations": [
            place(night, user, domain, rank, num)
            for (user, domain), nums in lists.items() for rank, num in enumerate(nums, start=1)
        ],
        "data_quality": [
            {c.DOMAIN: "films", "check": "exclude_seen", "value": 1.0},
            {c.DOMAIN: "books", "check": "exclude_seen", "value": 0.0},
            {c.DOMAIN: "films", "check": "rows_read", "value": 10.0},
            {c.DOMAIN: "films", "check": "rejected:bad time", "value": 4.0},
        ],
        "reliability": [
            {c.MODEL: "crossrec", c.DOMAIN: c.ALL, "bin": place, "lowest": place / 4, "highest": (place + 1) / 4,
             "mean_probability": (place + 0.5) / 4, "click_rate": place / 4, "positives": place, "pairs": 4}
            for place in range(4)
        ],
        "metrics": [
            measure("coverage", c.ALL, 10, night.day / 8, None), measure("ndcg", c.ALL, 10, night.day / 16, 0.03),
            measure("ndcg", c.COLD_IN_DOMAIN, 10, 0.0, 0.0), measure("click_precision", c.ALL, 0, None, None),
            measure("novelty", c.ALL, 10, 7.5, 7.25), measure("diversity", c.ALL, 10, 1.25, 1.0),
        ],
        "transfer_report": [
            pair(c.BACKTEST, "target_only", 0.25), pair(c.BACKTEST, "markov", 0.0), pair(c.VALIDATE, "target_only", 0.5)
        ],
    }  # fmt: skip


def place(night: date, user: str, domain: str, rank: int, item_num: int) -> dict[str, Any]:
    return {
        c.RUN_DATE: night, c.PURPOSE: c.SERVE, c.MODEL: "markov", c.DOMAIN: domain, c.USER_ID: user,
        c.ITEM_ID: f"i{item_num}", c.RANK: rank, c.SCORE: 1 / rank, c.PROBABILITY: None, c.PATH: c.OWN_HISTORY,
    }  # fmt: skip


def measure(metric: str, segment: str, n: int, value: float | None, low: float | None) -> dict[str, Any]:
    high = None if low is None else low + 0.5
    return {
        c.MODEL: "markov", c.DOMAIN: "films", c.SEGMENT: segment, c.METRIC: metric, c.N: n, "value": value,
        c.CI_LOW: low, c.CI_HIGH: high, c.NUM_USERS: 2,
    }  # fmt: skip


def pair(purpose: str, baseline: str, baseline_value: float) -> dict[str, Any]:
    return {
        c.PURPOSE: purpose, c.DOMAIN: "films", c.SEGMENT: c.ALL, c.MODEL: "transferred", c.BASELINE: baseline,
        c.METRIC: "ndcg", c.N: 10, "value": 0.5, "baseline_value": baseline_value, c.DIFFERENCE: 0.5 - baseline_value,
        c.CI_LOW: 0.125, c.CI_HIGH: 0.5, c.NUM_USERS: 2, "decision": "transferred", c.REASON: "better",
    }  # fmt: skip


def faulty_rows() -> Rows:
    """The same nights with one fault for each check, in run r2."""
    rows, night = sound_rows(), NIGHTS["r2"].date()
    extra = {
        "duplicate_ranks": [place(night, "dan", "films", 1, 1), place(night, "dan", "films", 1, 2)],
        "duplicate_items": [place(night, "eve", "films", 1, 1), place(night, "eve", "films", 2, 1)],
        "ranks_without_gaps": [place(night, "fay", "films", 1, 1), place(night, "fay", "films", 3, 2)],
        "unknown_items": [place(night, "gus", "films", 1, 4), place(night, "gus", "films", 2, 1)],
        "seen_items_recommended": [place(night, "ann", "films", 3, 1)],
        "short_lists": [place(night, "hal", "films", 1, 1)],
    }
    for places in extra.values():
        rows["recommendations"] += [{c.RUN_ID: "r2", **row} for row in places]
    wrong = [measure("recall", c.ALL, 10, 1.5, 0.5), measure("recall", c.WARM, 10, float("nan"), None)]
    rows["metrics"] += [{c.RUN_ID: "r2", **row} for row in wrong]
    return rows


def refreshed_rows() -> Rows:
    """The same nights, and r3, which stands on r2: ann's lists made anew, cy gone, the others' as they were."""
    rows, night = sound_rows(), date(2026, 1, 3)
    moment = datetime(2026, 1, 3, 3, tzinfo=UTC)
    rows["publications"].append({c.RUN_ID: "r3", "published_at": moment, "kind": "publish", "lake_version": 1})
    rows["run_parts"] = [
        {c.RUN_ID: "r3", c.PART_RUN_ID: part, c.PLACE: place} for place, part in enumerate(("r3", "r2"))
    ]
    marks = [("r2", user) for user in ("ann", "bob", "cy")] + [("r3", user) for user in ("ann", "cy")]
    rows["user_fingerprints"] = [
        {c.RUN_ID: run_id, c.USER_ID: user, c.NUM_ROWS: 1, c.FINGERPRINT: 0} for run_id, user in marks
    ]
    rows["recommendations"] += [
        {c.RUN_ID: "r2", **place(NIGHTS["r2"].date(), "cy", "films", 1, 1)},
        {c.RUN_ID: "r3", **place(night, "ann", "films", 1, 3)},
    ]
    rows["metrics"] += [{**row, c.RUN_ID: "r3"} for row in rows["metrics"] if row[c.RUN_ID] == "r2"]
    return rows


def to_arrow(rows: Rows) -> dict[str, pa.Table]:
    return {name: pa.Table.from_pylist(rows[name], schema=arrow_schema(t.ALL_TABLES[name])) for name in rows}


def on_duckdb(rows: Rows) -> Ask:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in to_arrow(rows).items():
        connection.register(name, table)
    for view in VIEWS:
        connection.execute(f"CREATE VIEW {view.stem} AS {view.read_text()}")
    return lambda sql: connection.sql(sql).to_arrow_table().to_pylist()


def on_spark(spark: SparkSession, rows: Rows) -> Ask:
    session = spark.newSession()
    for name, table in to_arrow(rows).items():
        session.createDataFrame(table).createOrReplaceTempView(name)
    for view in VIEWS:
        session.sql(f"CREATE TEMPORARY VIEW {view.stem} AS {view.read_text()}")
    return lambda sql: session.sql(sql).toArrow().to_pylist()


def answers(ask: Ask) -> dict[str, list[str]]:
    """The rows of every file, in no order."""
    return {file.stem: sorted(map(str, ask(file.read_text()))) for file in (*VIEWS, *CHECKS, *REPORTS)}


def test_sound_rows_pass_every_check() -> None:
    ask = on_duckdb(sound_rows())
    assert {file.stem: ask(file.read_text()) for file in CHECKS} == {file.stem: [] for file in CHECKS}


@pytest.mark.parametrize(
    ("check", "key"),
    [
        ("duplicate_ranks", {c.USER_ID: "dan", c.RANK: 1}),
        ("duplicate_items", {c.USER_ID: "eve", c.ITEM_ID: "i1"}),
        ("ranks_without_gaps", {c.USER_ID: "fay", "last_rank": 3}),
        ("unknown_items", {c.USER_ID: "gus", c.ITEM_ID: "i4"}),
        ("seen_items_recommended", {c.USER_ID: "ann", c.ITEM_ID: "i1"}),
        ("short_lists", {c.USER_ID: "hal", "num_places": 1}),
        ("metric_out_of_range", {c.METRIC: "recall", c.SEGMENT: c.ALL}),
        ("metric_out_of_range", {c.METRIC: "recall", c.SEGMENT: c.WARM}),
    ],
)
def test_a_check_returns_the_fault_it_is_for(check: str, key: dict[str, Any]) -> None:
    found = on_duckdb(faulty_rows())((SQL / "checks" / f"{check}.sql").read_text())
    assert [row for row in found if key.items() <= row.items()]
    assert {row[c.RUN_ID] for row in found} == {"r2"}


def test_every_check_has_a_planted_fault() -> None:
    ask = on_duckdb(faulty_rows())
    assert [file.stem for file in CHECKS if not ask(file.read_text())] == []


def test_views_show_the_latest_publication_only() -> None:
    ask = on_duckdb(sound_rows())
    for view in VIEWS:
        assert {row[c.RUN_ID] for row in ask(f"SELECT * FROM {view.stem}")} == {"r2"}, view.stem


def test_a_rollback_shows_the_run_before() -> None:
    rows = sound_rows()
    back = {c.RUN_ID: "r1", "published_at": datetime(2026, 1, 3, tzinfo=UTC), "kind": "rollback", "lake_version": 1}
    rows["publications"].append(back)
    assert {row[c.RUN_ID] for row in on_duckdb(rows)("SELECT * FROM latest_recommendations")} == {"r1"}


def test_a_refreshed_run_shows_its_own_lists_and_those_it_left_as_they_were() -> None:
    ask = on_duckdb(refreshed_rows())
    lists = ask("SELECT * FROM latest_recommendations ORDER BY user_id, domain, rank")
    assert {row[c.RUN_ID] for row in lists} == {"r3"}
    ann = [(row[c.DOMAIN], row[c.ITEM_ID], row[c.RUN_DATE].day) for row in lists if row[c.USER_ID] == "ann"]
    assert ann == [("films", "i3", 3)]
    bob = [(row[c.ITEM_ID], row[c.TITLE], row[c.RUN_DATE].day) for row in lists if row[c.USER_ID] == "bob"]
    assert bob == [("i12", "Title 12", 2), ("i11", "Title 11", 2), ("i3", None, 2), ("i2", "Title 2", 2)]
    assert {row[c.USER_ID] for row in lists} == {"ann", "bob"}
    assert [row["num_candidates"] for row in ask("SELECT * FROM catalogue_coverage")] == [3]


def test_reports_say_what_their_tables_hold() -> None:
    ask = on_duckdb(sound_rows())
    report = {file.stem: ask(file.read_text()) for file in REPORTS}
    assert {row["title"] for row in report["user_top_n"] if row[c.DOMAIN] == "films"} == {"Title 2", "i3"}
    changes = [row["change"] for row in report["metrics_over_runs"] if row[c.METRIC] == "coverage"]
    assert changes == [None, 1 / 8] or changes == [1 / 8, None]
    gains = {row[c.BASELINE]: row["relative_gain"] for row in report["gain_over_baselines"]}
    assert gains == {"target_only": 1.0, "markov": None}
    shares = {row["check"]: row["share_of_rows_read"] for row in report["data_quality"]}
    assert shares == {"exclude_seen": None, "rows_read": None, "rejected:bad time": 0.4}


def test_coverage_counts_items_of_the_candidates() -> None:
    rows = on_duckdb(sound_rows())("SELECT coverage, num_items, num_candidates FROM catalogue_coverage")
    assert rows == [{"coverage": 0.25, "num_items": 0.75, "num_candidates": 3}]


def test_every_file_says_its_key_in_its_first_line() -> None:
    for file in (*VIEWS, *CHECKS, *REPORTS):
        first = file.read_text().splitlines()[0]
        assert first.startswith("-- "), file.name
        assert "Key: " in first, file.name
        assert ";" not in file.read_text(), file.name


@pytest.mark.spark
def test_duckdb_and_spark_give_the_same_rows(spark: SparkSession) -> None:
    for rows in (sound_rows(), faulty_rows(), refreshed_rows()):
        assert answers(on_spark(spark, rows)) == answers(on_duckdb(rows))
