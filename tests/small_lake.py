"""A small published lake without Spark: two target domains, two known users, lists of three."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config, to_tree
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake
from crossrec_core.ledger import DONE, StepRecord, write_step
from crossrec_core.settings import Settings

DOMAIN_NUMS = {"books": 1, "films": 2}
USERS = {"ann": 1, "o'brien": 2}
TITLES = {11: "Dune [red]", 12: "Emma", 13: "Ulysses", 21: "Alien (1979)", 22: "Brazil", 23: "Casablanca"}
DOMAIN_OF = {num: "books" if num < 20 else "films" for num in TITLES}
FIRST_START = datetime(2026, 1, 1, 2, tzinfo=UTC)


def write_run(lake: Lake, settings: Settings, run_id: str, *, night: int = 0, model: str = "markov") -> None:
    """Every table a reader of one run needs; ann has books and films, o'brien books only."""
    rows: dict[t.Table, list[dict[str, Any]]] = {
        t.ITEM_FEATURES: [_feature(run_id, num) for num in TITLES],
        t.RECOMMENDATIONS: [row for user in (*USERS, c.NEW_USER_ID) for row in _lists(run_id, model, user, night)],
        t.SEQUENCES: [_sequence(run_id, 1, [11, 21, 12]), _sequence(run_id, 2, [12, 13])],
        t.HISTORIES: [
            _history(run_id, 1, "books", [11, 12]), _history(run_id, 1, "films", [21]),
            _history(run_id, 2, "books", [12, 13]),
        ],
        t.TRANSITIONS: [_transition(run_id, 21, 23, 0.5), _transition(run_id, 21, 22, 0.9)],
        t.MODELS: [_model(run_id, model, domain) for domain in DOMAIN_NUMS],
    }  # fmt: skip
    for table, table_rows in rows.items():
        write_rows(lake, table, table_rows, replace={c.RUN_ID: run_id})
    write_step(lake, _step(settings, run_id, night))
    if night == 0:
        _write_ids(lake, run_id)


def small_settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of the two domains; their logs are not there and nothing here reads them."""
    config = folder / "small.toml"
    config.write_text('[domains.books]\npath = "b.csv"\n[domains.films]\npath = "f.csv"\n', encoding="ascii")
    return read_config(config, overrides=overrides)


def _write_ids(lake: Lake, run_id: str) -> None:
    users = [
        {c.RUN_ID: run_id, c.USER_SPACE: "shared", c.USER_ID: user, c.USER_NUM: num} for user, num in USERS.items()
    ]
    labels = [
        {c.RUN_ID: run_id, c.KIND: "domain", c.LABEL_NAME: name, c.LABEL_NUM: num} for name, num in DOMAIN_NUMS.items()
    ]
    write_rows(lake, t.USER_IDS, users, append=True)
    write_rows(lake, t.LABEL_IDS, labels, append=True)


def _lists(run_id: str, model: str, user: str, night: int) -> list[dict[str, Any]]:
    return [
        {
            c.RUN_ID: run_id, c.RUN_DATE: date(2026, 1, 1) + timedelta(days=night), c.PURPOSE: c.SERVE, c.MODEL: model,
            c.DOMAIN: domain, c.USER_ID: user, c.ITEM_ID: f"i{10 * number + place}", c.RANK: place,
            c.SCORE: 1.0 / place, c.PROBABILITY: None if domain == "books" else 0.25, c.PATH: c.OWN_HISTORY,
        }
        for domain, number in DOMAIN_NUMS.items()
        for place in (1, 2, 3)
    ]  # fmt: skip


def _feature(run_id: str, num: int) -> dict[str, Any]:
    return {
        c.RUN_ID: run_id, c.DOMAIN: DOMAIN_OF[num], c.ITEM_NUM: num, c.ITEM_ID: f"i{num}", c.TITLE: TITLES[num],
        c.TEXT: None, c.CATEGORIES: [], c.NUMERICS: {}, c.LABELS: {},
    }  # fmt: skip


def _sequence(run_id: str, user: int, items: list[int]) -> dict[str, Any]:
    padding = [0] * (50 - len(items))
    domains = [DOMAIN_NUMS[DOMAIN_OF[item]] for item in items]
    ones = [1] * len(items) + padding
    return {
        c.RUN_ID: run_id, c.PURPOSE: c.SERVE, c.CLOCK: "time", c.USER_NUM: user, c.LENGTH: len(items),
        c.ITEM_NUMS: items + padding, c.DOMAIN_NUMS: domains + padding, c.ACTION_NUMS: ones, c.GAP_BUCKETS: ones,
        c.SESSION_STARTS: ones, c.EVENT_ORDERS: ones,
    }  # fmt: skip


def _history(run_id: str, user: int, domain: str, items: list[int]) -> dict[str, Any]:
    return {
        c.RUN_ID: run_id, c.PURPOSE: c.SERVE, c.DOMAIN: domain, c.USER_NUM: user, c.ITEM_NUMS: items,
        c.NUM_EVENTS: len(items), c.LAST_EVENT_ORDER: 1,
    }  # fmt: skip


def _transition(run_id: str, item: int, next_item: int, weight: float) -> dict[str, Any]:
    return {
        c.RUN_ID: run_id, c.PURPOSE: c.SERVE, c.MODEL: "markov", c.DOMAIN: "films", c.ITEM_NUM: item,
        c.NEXT_ITEM_NUM: next_item, c.WEIGHT: weight,
    }  # fmt: skip


def _model(run_id: str, model: str, domain: str) -> dict[str, Any]:
    return {
        c.RUN_ID: run_id, c.PURPOSE: c.SERVE, c.MODEL: model, c.DOMAIN: domain, c.KIND: "transitions",
        "location": f"checkpoints/{run_id}/serve/{model}/{domain}", "settings": "{}", "valid_ndcg": None,
        "seconds": 1.0,
    }  # fmt: skip


def _step(settings: Settings, run_id: str, night: int) -> StepRecord:
    return StepRecord(
        run_id=run_id, step="serve", state=DONE, run_date=date(2026, 1, 1) + timedelta(days=night), config_hash="0",
        config=json.dumps(to_tree(settings)), inputs="{}", versions="{}", row_counts="{}",
        started_at=FIRST_START + timedelta(days=night), seconds=2.5, peak_memory_mib=100.0, message=None,
    )  # fmt: skip
