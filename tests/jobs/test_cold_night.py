"""A night on the parity world with two books that nobody has touched before the test, films that nobody has, and games
that nobody has to the end: only texts can answer, and the right answers are known.
"""

import csv
from dataclasses import dataclass
from datetime import date

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.demo.world import (
    BOOKS,
    DAY_S,
    FILMS,
    FIRST_DAY,
    TRAIN_DAYS,
    VALID_DAYS,
    item_name,
    write_csv,
    write_world,
)
from crossrec_core.lake import model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.network.checkpoint import load_about
from jobs.nightly import STEPS
from jobs.steps import Night, run_step, start_night

pytestmark = pytest.mark.spark

GAMES = "games"
COLD_BOOKS = {item_name(BOOKS, 0), item_name(BOOKS, 1)}
TEST_START = FIRST_DAY + (TRAIN_DAYS + VALID_DAYS) * DAY_S
SETTINGS = {
    "model": {"width": 16, "heads": 2, "dropout": 0.0, "id_dropout": 0.5},
    "text": {"dimensions": 8, "num_buckets": 256},
    "train": {
        "threads": 1,
        "transfer": ["parameter", "target_only"],
        "pretrain": {"max_epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 1e-2},
        "finetune": {"max_epochs": 2, "patience": 2, "batch_size": 8, "learning_rate": 3e-3},
        "target_only": {"max_epochs": 2, "patience": 2, "batch_size": 8, "learning_rate": 1e-2},
    },
    "baselines": {
        "models": ["popularity", "markov", "text_knn"], "half_life_days": [30.0], "history_decay": [0.8],
        "popularity_share": [0.0],
    },
    "blend": {"half_lives_days": [30.0], "pool": 10, "min_users": 5, "cold_share": 0.2, "cold_cost": 0.05},
    "score": {"candidates": "listed"},
    "spark": {"shuffle_partitions": 2},
}  # fmt: skip


@dataclass(frozen=True)
class ColdNight:
    night: Night
    answers: dict[str, dict[str, frozenset[str]]]

    def lists(self, model: str, domain: str, purpose: str = c.BACKTEST) -> dict[str, list[str]]:
        where = {c.RUN_ID: self.night.run_id, c.PURPOSE: purpose, c.MODEL: model, c.DOMAIN: domain}
        found: dict[str, list[str]] = {}
        for row in sorted(read_rows(self.night.lake, t.RECOMMENDATIONS, where=where), key=lambda row: row[c.RANK]):
            found.setdefault(row[c.USER_ID], []).append(row[c.ITEM_ID])
        return found


@pytest.fixture(scope="module")
def cold_night(spark, tmp_path_factory) -> ColdNight:
    """Raw logs to served lists; only test events are of the two books and of films."""
    world = write_world(tmp_path_factory.mktemp("cold"))
    for domain in (BOOKS, FILMS):
        file = world.config.parent / f"{domain}.csv"
        with file.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        kept = [row for row in rows if int(row[2]) >= TEST_START or (domain == BOOKS and row[1] not in COLD_BOOKS)]
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *kept])
    root = world.config.parent
    games = [(item_name(GAMES, item), f"{('Even', 'Odd')[item % 2]} game {item}", "games") for item in range(12)]
    write_csv(root / "games.csv", ("user_id", "item_id", "timestamp"), [])
    write_csv(root / "games_items.csv", ("item_id", "title", "categories"), games)
    block = {"path": str(root / "games.csv"), "event_time": "timestamp"}
    catalogue = {"path": str(root / "games_items.csv"), "title": "title", "text": ["title"]}
    settings = read_config(world.config, overrides={**SETTINGS, "domains": {GAMES: {**block, "catalogue": catalogue}}})
    night = start_night(settings, run_id="cold", as_of=date(2024, 7, 1).isoformat())
    for step, run in STEPS.items():
        run_step(step, run, settings, night, spark)
    return ColdNight(night, world.answers)


def test_a_book_that_nobody_has_touched_tops_the_lists_of_those_it_is_right_for(cold_night):
    right = {user: answer for user, answer in cold_night.answers[BOOKS].items() if answer <= COLD_BOOKS}
    assert len(right) == 6
    lists = cold_night.lists(c.CROSSREC, BOOKS)
    first = [lists[user][0] in answer for user, answer in right.items()]
    assert sum(first) >= 5
    others = [user for user, answer in cold_night.answers[BOOKS].items() if not answer <= COLD_BOOKS]
    found = [bool(cold_night.answers[BOOKS][user] & set(lists[user][:3])) for user in others]
    assert sum(found) >= 0.9 * len(found)


def test_the_measures_tell_cold_items_from_known_ones(cold_night):
    where = {c.RUN_ID: cold_night.night.run_id, c.PURPOSE: c.BACKTEST, c.MODEL: c.CROSSREC}
    rows = [row for row in read_rows(cold_night.night.lake, t.USER_METRICS, where=where) if row[c.DOMAIN] == BOOKS]
    users = {kind: {row[c.USER_ID] for row in rows if row[c.SEGMENT] == kind} for kind in (c.COLD_ITEMS, c.KNOWN_ITEMS)}
    assert len(users[c.COLD_ITEMS]) == 6
    assert len(users[c.KNOWN_ITEMS]) == 54


def test_a_domain_without_an_event_gets_lists_from_transfer(cold_night):
    lists, answers = cold_night.lists(c.TRANSFERRED, FILMS), cold_night.answers[FILMS]
    assert answers.keys() <= lists.keys()
    listed = [bool(answers[user] & set(lists[user])) for user in answers]
    assert sum(listed) >= 0.9 * len(listed), "ten of twenty films are listed: chance is one half"


def test_nothing_is_fitted_that_nothing_teaches(cold_night):
    night = cold_night.night
    found = load_about(night.lake.at(model_location(night.run_id, c.BACKTEST, c.TRANSFERRED, FILMS)))
    assert (found.settings["strategy"], found.settings["valid_ndcg"]) == (c.ZERO_SHOT, None)
    assert not has_file(night.lake.at(model_location(night.run_id, c.BACKTEST, c.TARGET_ONLY, FILMS)), "model.json")
    assert not has_file(night.lake.at(model_location(night.run_id, c.VALIDATE, c.CROSSREC, FILMS)), "model.json")


def test_the_new_domain_is_served_by_transfer_learnt_from_what_is_known_by_then(cold_night):
    night = cold_night.night
    assert c.NEW_USER_ID in cold_night.lists(c.TRANSFERRED, FILMS, c.SERVE)
    served = load_about(night.lake.at(model_location(night.run_id, c.SERVE, c.TRANSFERRED, FILMS)))
    assert served.settings["strategy"] == c.PARAMETER


def test_a_domain_that_has_not_begun_is_served_from_its_catalogue(cold_night):
    lists = cold_night.lists(c.TRANSFERRED, GAMES, c.SERVE)
    even = {item_name(GAMES, item) for item in range(0, 12, 2)}
    users = list(cold_night.answers[BOOKS])
    alike = [(game in even) == (int(user.removeprefix("user")) % 2 == 0) for user in users for game in lists[user][:3]]
    assert len(alike) == 3 * len(users)
    assert sum(alike) >= 0.9 * len(alike)
