"""Baselines fitted, tuned and stored on a small lake that holds what prepare writes."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import cos, sin
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.errors import ConfigError
from crossrec_core.lake import Lake, candidates_location, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from crossrec_core.tables import Table
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg, to_users
from crossrec_core.tensors.folders import read_json, read_tensors
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP, candidates_of
from crossrec_core.tensors.retrieval.candidates import load_candidates
from crossrec_core.tensors.scoring.scorer import LOADERS
from crossrec_core.tensors.texts.text import ENCODER_NAME
from jobs import fit_baselines
from jobs.baseline_settings import DIRECT, IALS, KINDS, grid
from jobs.ground import read_held_out
from jobs.steps import Night

RUN_ID = "night"
DOMAIN_NUMS = {"books": 1, "films": 2}
LISTS = (c.ITEM_NUMS, c.DOMAIN_NUMS, c.ACTION_NUMS, c.GAP_BUCKETS, c.SESSION_STARTS, c.EVENT_ORDERS)
MAX_LEN = 8
START = datetime(2024, 1, 1, tzinfo=UTC)
MODELS = [model for model in KINDS if model != IALS]  # which is cmf with the other domains' events at weight 0
WITHOUT_ROWS = [model for model in DIRECT if model != IALS]
SMALL = {
    "baselines": {
        "models": MODELS, "half_life_days": [2.0, 5.0],
        "knn_shrink": [0.0], "alpha": [0.75], "history_decay": [0.6, 0.9],
        "cross_domain": [0.3], "popularity_share": [0.0, 0.5], "als_rank": 2, "als_iterations": 1,
        "ease_regularisation": [1.0, 5.0], "slist_regularisation": [2.0], "slist_whole_share": [0.0, 0.3],
    },
    "text": {"dimensions": 2},
    "spark": {"shuffle_partitions": 2},
}  # fmt: skip
Event = tuple[int, str, int, int, str]  # user, domain, item, day, split


def world(test_items: tuple[int, int] = (5, 6)) -> list[Event]:
    """Eight users go through books 1-6 and films 7-12 in circles; the fourth book validates, the fifth tests."""
    events = []
    for user in range(1, 9):
        for step in range(3):
            events.append((user, "books", 1 + (user + step) % 6, 2 * step, c.TRAIN))
            events.append((user, "films", 7 + (user + step) % 6, 2 * step + 1, c.TRAIN))
        events.append((user, "books", 1 + (user + 3) % 6, 8, c.VALID))
        events.append((user, "books", test_items[user % 2], 9, c.TEST))
    return events


def write_prepared(lake: Lake, events: list[Event]) -> None:
    """The tables of prepare that the baselines read."""
    rows: dict[Table, list[dict[str, Any]]] = {
        t.SPLIT_INTERACTIONS: [_interaction(place, event) for place, event in enumerate(events)],
        t.ITEM_POPULARITY: [row for purpose in c.KNOWN_SPLITS for row in _popularity(events, purpose)],
        t.SEQUENCES: [
            {c.PURPOSE: purpose, c.CLOCK: "time", **_sequence(events, user)}
            for purpose in c.KNOWN_SPLITS
            for user in range(1, 9)
        ],
        t.VALIDATION_SEQUENCES: [
            {c.DOMAIN: "books", c.TARGET_DOMAIN_NUM: 1, c.TRUTH_NUMS: [1 + (user + 3) % 6] + [0] * 9}
            | _sequence(events, user)
            for user in range(1, 9)
        ],
        t.ITEM_IDS: [
            {c.ITEM_SPACE: "books" if item < 7 else "films", c.ITEM_ID: f"i{item}", c.ITEM_NUM: item}
            for item in range(1, 13)
        ],
        t.LABEL_IDS: [
            {c.KIND: kind, c.LABEL_NAME: name, c.LABEL_NUM: number}
            for kind, nums in (("domain", DOMAIN_NUMS), ("action", {"interact": 1}))
            for name, number in nums.items()
        ],
        t.ITEM_VECTORS: [
            {c.ENCODER: ENCODER_NAME, c.ITEM_NUM: item, c.VECTOR: [cos(item), sin(item)]} for item in range(1, 13)
        ],
    }  # fmt: skip
    for table, own in rows.items():
        write_rows(lake, table, [{c.RUN_ID: RUN_ID, **row} for row in own], replace={c.RUN_ID: RUN_ID})


def _interaction(place: int, event: Event) -> dict[str, Any]:
    user, domain, item, day, split = event
    moment = START + timedelta(days=day)
    return {
        c.DOMAIN: domain, c.USER_NUM: user, c.ITEM_NUM: item, c.ACTION_NUM: 1, c.WEIGHT: 1.0, c.VALUE: None,
        c.EVENT_TIME: moment, c.EVENT_ORDER: round(moment.timestamp() * 1e6), c.TIE_BREAK: place, c.SPLIT: split,
    }  # fmt: skip


def _popularity(events: list[Event], purpose: str) -> list[dict[str, Any]]:
    known = [(domain, item) for _, domain, item, _, split in events if split in c.KNOWN_SPLITS[purpose]]
    return [
        {
            c.PURPOSE: purpose, c.DOMAIN: domain, c.ITEM_NUM: item, c.NUM_EVENTS: known.count((domain, item)),
            c.NUM_USERS: 1, c.WEIGHT: float(known.count((domain, item))),
            c.RECENT_WEIGHT: float(known.count((domain, item))), c.TREND_WEIGHTS: [1.0], c.IS_HEAD: False,
        }
        for domain, item in sorted(set(known))
    ]  # fmt: skip


def _sequence(events: list[Event], user: int) -> dict[str, Any]:
    own = [(item, DOMAIN_NUMS[domain]) for owner, domain, item, _, split in events if (owner, split) == (user, c.TRAIN)]
    padding = [0] * (MAX_LEN - len(own))
    ones = [1] * len(own) + padding
    lists = {**dict.fromkeys(LISTS, ones), c.ITEM_NUMS: [item for item, _ in own] + padding}
    return {c.USER_NUM: user, c.LENGTH: len(own), **lists, c.DOMAIN_NUMS: [domain for _, domain in own] + padding}


def settings_of(folder: Path, **baselines: Any) -> Settings:
    config = folder / "small.toml"
    config.write_text('[domains.books]\npath = "b.csv"\n[domains.films]\npath = "f.csv"\n', encoding="ascii")
    return read_config(config, overrides={**SMALL, "baselines": {**SMALL["baselines"], **baselines}})


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Night]:
    folder = tmp_path_factory.mktemp("fitted")
    night = Night(RUN_ID, date(2024, 1, 10), Lake(str(folder / "lake")))
    write_prepared(night.lake, world())
    settings = settings_of(folder)
    fit_baselines.run(settings, night, spark)
    return settings, night


def rows_of(night: Night, table: Table, purpose: str, models: list[str]) -> list[tuple[Any, ...]]:
    rows = read_rows(night.lake, table, where={c.PURPOSE: purpose})
    return sorted(tuple(str(value) for value in row.values()) for row in rows if row[c.MODEL] in models)


@pytest.mark.spark
def test_every_model_has_a_row_and_an_artifact_per_purpose_and_target(fitted: tuple[Settings, Night]) -> None:
    _, night = fitted
    rows = read_rows(night.lake, t.MODELS)
    assert {(row[c.PURPOSE], row[c.MODEL], row[c.DOMAIN]) for row in rows} == {
        (purpose, model, domain) for purpose in (c.VALIDATE, c.BACKTEST) for model in MODELS for domain in DOMAIN_NUMS
    }
    for row in rows:
        about = read_json(Path(night.lake.at(row["location"])) / "model.json")
        assert (about["kind"], about["domain_num"]) == (KINDS[row[c.MODEL]], DOMAIN_NUMS[row[c.DOMAIN]])
        assert about["settings"] == json.loads(row["settings"])
        assert about["id_fingerprint"] == candidates(night, row[c.PURPOSE]).id_fingerprint


def candidates(night: Night, purpose: str) -> Any:
    return load_candidates(night.lake.at(candidates_location(RUN_ID, purpose)))


@pytest.mark.spark
def test_the_best_trial_is_chosen_and_kept_for_the_backtest(fitted: tuple[Settings, Night]) -> None:
    settings, night = fitted
    trials = read_rows(night.lake, t.TRIALS)
    for model in MODELS:
        own = sorted((row for row in trials if row["study"] == f"{model}.books"), key=lambda row: row["trial"])
        assert len(own) == len(grid(model, settings))
        best = max(own, key=lambda row: row["value"])  # the first of the best
        for purpose in (c.VALIDATE, c.BACKTEST):
            rows = read_rows(night.lake, t.MODELS, where={c.PURPOSE: purpose, c.MODEL: model})
            (row,) = [row for row in rows if row[c.DOMAIN] == "books"]
            assert (row["settings"], row["valid_ndcg"]) == (best["settings"], best["value"])


@pytest.mark.spark
def test_a_target_without_validation_users_takes_the_first_of_each_list(fitted: tuple[Settings, Night]) -> None:
    settings, night = fitted
    (row,) = [
        row
        for row in read_rows(night.lake, t.MODELS, where={c.PURPOSE: c.VALIDATE, c.MODEL: "item_knn"})
        if row[c.DOMAIN] == "films"
    ]
    assert (json.loads(row["settings"]), row["valid_ndcg"]) == (grid("item_knn", settings)[0], None)


@pytest.mark.spark
def test_the_markov_artifact_holds_the_rows_of_its_table(fitted: tuple[Settings, Night]) -> None:
    _, night = fitted
    folder = Path(night.lake.at(model_location(RUN_ID, c.BACKTEST, "markov", "books")))
    weights = read_tensors(folder / "weights.safetensors")
    items_V = candidates(night, c.BACKTEST).items[1]
    found = {
        (item, int(items_V[weights["positions"][pair]])): float(weights["weights"][pair])
        for item in range(len(weights["indptr"]) - 1)
        for pair in range(weights["indptr"][item], weights["indptr"][item + 1])
    }
    rows = read_rows(night.lake, t.TRANSITIONS, where={c.PURPOSE: c.BACKTEST, c.MODEL: "markov"})
    expected = {(row[c.ITEM_NUM], row[c.NEXT_ITEM_NUM]): row[c.WEIGHT] for row in rows if row[c.DOMAIN] == "books"}
    assert found == pytest.approx(expected, rel=1e-6)
    assert any(item > 6 for item, _ in found)  # films lend to books


@pytest.mark.spark
@pytest.mark.parametrize("model", WITHOUT_ROWS)
def test_a_model_without_rows_keeps_the_fit_that_validated_best(fitted: tuple[Settings, Night], model: str) -> None:
    settings, night = fitted
    (row,) = [
        row
        for row in read_rows(night.lake, t.MODELS, where={c.PURPOSE: c.VALIDATE, c.MODEL: model})
        if row[c.DOMAIN] == "books"
    ]
    folder = Path(night.lake.at(row["location"]))
    own = candidates(night, c.VALIDATE)
    users = read_held_out(settings, night, own.domains)["books"]
    options = json.loads(row["settings"])
    reached = mean_list_ndcg(LOADERS[row[c.KIND]](folder, options, candidates_of(own, 1)), users, candidates_of(own, 1))
    assert reached == row["valid_ndcg"]


@pytest.mark.spark
@pytest.mark.parametrize("model", WITHOUT_ROWS)
def test_a_model_without_rows_says_something_personal(fitted: tuple[Settings, Night], model: str) -> None:
    settings, night = fitted
    own = candidates(night, c.BACKTEST)
    users = read_held_out(settings, night, own.domains)["books"]
    folder = Path(night.lake.at(model_location(RUN_ID, c.BACKTEST, model, "books")))
    options = read_json(folder / "model.json")["settings"]
    scores = LOADERS[KINDS[model]](folder, options, candidates_of(own, 1))(to_users(users, 0, 8))
    scores_BV = scores.block(0, len(own.items[1]))
    assert scores.is_personal_B.all()
    assert len({tuple(row) for row in scores_BV.tolist()}) > 1
    assert (scores_BV > FILL_TOP).any(dim=1).all()


@pytest.mark.spark
def test_trials_of_pairs_reach_what_the_fit_that_is_kept_reaches(fitted: tuple[Settings, Night]) -> None:
    settings, night = fitted
    own = candidates(night, c.VALIDATE)
    users = read_held_out(settings, night, own.domains)["books"]
    for model in ("markov", "item_knn"):
        folder = Path(night.lake.at(model_location(RUN_ID, c.VALIDATE, model, "books")))
        options = read_json(folder / "model.json")["settings"]
        score = LOADERS["transitions"](folder, options, candidates_of(own, 1))
        (row,) = [
            row
            for row in read_rows(night.lake, t.MODELS, where={c.PURPOSE: c.VALIDATE, c.MODEL: model})
            if row[c.DOMAIN] == "books"
        ]
        assert mean_list_ndcg(score, users, candidates_of(own, 1)) == row["valid_ndcg"]


@pytest.mark.spark
def test_what_happens_after_the_cut_changes_nothing_before_it(
    fitted: tuple[Settings, Night], spark: SparkSession, tmp_path: Path
) -> None:
    _, night = fitted
    other = Night(RUN_ID, night.run_date, Lake(str(tmp_path / "lake")))
    write_prepared(other.lake, world(test_items=(1, 2)))
    models = ["decayed_popularity", "markov", "als", "slist", "emcdr"]  # one of each way to fit
    fit_baselines.run(settings_of(tmp_path, models=models), other, spark)
    for purpose in (c.VALIDATE, c.BACKTEST):
        for table in (t.TRANSITIONS, t.ITEM_SCORES, t.ITEM_FACTORS):
            assert rows_of(night, table, purpose, models) == rows_of(other, table, purpose, models) != []
        for model in models:
            first, second = (weights_of(one, purpose, model) for one in (night, other))
            assert first.keys() == second.keys()
            assert all(first[name].equal(second[name]) for name in first)


def weights_of(night: Night, purpose: str, model: str) -> dict[str, Tensor]:
    return read_tensors(Path(night.lake.at(model_location(RUN_ID, purpose, model, "books"))) / "weights.safetensors")


@pytest.mark.spark
def test_serve_fits_one_domain_and_leaves_the_others_rows(fitted: tuple[Settings, Night], spark: SparkSession) -> None:
    settings, night = fitted
    rows = [
        fit_baselines.fit_for_purpose(settings, night, spark, purpose=c.SERVE, model="item_knn", domain=domain)
        for domain in ("books", "films", "books")
    ]
    assert [row[c.DOMAIN] for row in rows] == ["books", "films", "books"]
    assert rows[0]["settings"] == next(
        row["settings"]
        for row in read_rows(night.lake, t.MODELS, where={c.PURPOSE: c.BACKTEST, c.MODEL: "item_knn"})
        if row[c.DOMAIN] == "books"
    )
    found = read_rows(night.lake, t.TRANSITIONS, where={c.PURPOSE: c.SERVE, c.MODEL: "item_knn"})
    keys = [(row[c.DOMAIN], row[c.ITEM_NUM], row[c.NEXT_ITEM_NUM]) for row in found]
    assert len(keys) == len(set(keys))
    assert {domain for domain, _, _ in keys} == {"books", "films"}


def test_an_unknown_model_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    night = Night(RUN_ID, date(2024, 1, 10), Lake(str(tmp_path / "lake")))
    with pytest.raises(ConfigError, match="no model 'svd'"):
        fit_baselines.run(settings_of(tmp_path, models=["svd"]), night, None)  # type: ignore[arg-type]


def test_markov_is_tuned_after_the_popularity_it_mixes_in() -> None:
    assert fit_baselines._in_order(["markov", "als", "decayed_popularity"]) == ["als", "decayed_popularity", "markov"]


def test_options_that_share_a_fit_follow_one_another(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, alpha=[0.7, 0.8], cross_domain=[0.0, 0.3])
    fits = [json.dumps({k: v for k, v in options.items() if k not in ("history_decay", "popularity_share")})
            for options in grid("markov", settings)]  # fmt: skip
    changes = sum(1 for before, after in pairwise(fits) if before != after)
    assert changes == len(set(fits)) - 1 == 3
