"""A night on the parity world whose films are rated, and its refresh: what is known of likes reaches every reader."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.fresh import score_fresh
from crossrec_core.cli.lists import find_served, read_lists
from crossrec_core.config import read_config
from crossrec_core.demo.world import DAY_S, FILMS, FIRST_DAY, item_name, write_csv, write_world
from crossrec_core.lake import Lake, model_location
from crossrec_core.lake_reader import connect, query, read_rows
from crossrec_core.ledger import published_run
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import open_folder
from crossrec_core.tensors.probability.ranker import load_ranker
from jobs import publish, refresh
from jobs.nightly import STEPS
from jobs.steps import run_step, start_night

AS_OF = "2024-07-01"
SETTINGS: dict[str, Any] = {
    "domains": {FILMS: {"value": "stars", "positive_value": 4.0}},
    "text": {"dimensions": 0},
    "train": {"threads": 1, **{stage: {"max_epochs": 0} for stage in ("pretrain", "finetune", "target_only")}},
    "meta": {"method": "none"},
    "baselines": {"models": ["popularity", "markov"], "half_life_days": [30.0], "history_decay": [0.8],
                  "popularity_share": [0.0]},
    "blend": {"models": ["markov"], "half_lives_days": [30.0], "pool": 10, "min_users": 5,
              "stacked_baselines": ["markov"]},
    "score": {"serve_models": "all"},
    "spark": {"shuffle_partitions": 2},
}  # fmt: skip


def stars(user: str, item: str) -> int:
    """Three films in four are liked, by everyone but each third user, who likes one in four."""
    is_good, is_harsh = int(item.removeprefix("film")) % 4 < 3, int(user.removeprefix("user")) % 3 == 0
    return 5 if is_good != is_harsh else 2


def rate(path: Path) -> None:
    """Give every row of the films' log its stars, by user and film."""
    with path.open(newline="") as stream:
        _, *rows = csv.reader(stream)
    write_csv(path, ("user_id", "item_id", "timestamp", "stars"), [(*row[:3], stars(row[0], row[1])) for row in rows])


def published(lake: Lake, model: str) -> dict[tuple[str, str], float]:
    """Readers' probability of each film in a user's list."""
    with connect(lake, published=published_run(lake)) as connection:
        sql = "SELECT user_id, item_id, probability FROM latest_recommendations WHERE domain = ? AND model = ?"
        return {(user, item): found for user, item, found in query(connection, sql, [FILMS, model]).rows}


def refreshed(settings: Settings, spark: SparkSession, run_id: str, *, everyone: bool) -> dict[tuple[str, str], float]:
    lake = Lake(settings.lake.path)
    night = start_night(settings, run_id=run_id, as_of=AS_OF)
    step = partial(refresh.run, base=refresh.find_base(settings, lake), everyone=everyone)
    run_step("refresh", step, settings, night, spark)
    run_step("publish", publish.run, settings, night, spark)
    return published(lake, c.CROSSREC)


@pytest.mark.spark
@pytest.mark.slow
def test_likes_reach_pairs_lists_fresh_lists_and_refreshed_ones(spark: SparkSession, tmp_path: Path) -> None:
    world = write_world(tmp_path)
    log = tmp_path / "films.csv"
    rate(log)
    settings = read_config(world.config, overrides=SETTINGS)
    night = start_night(settings, run_id="rated", as_of=AS_OF)
    for step, run in STEPS.items():
        run_step(step, run, settings, night, spark)
    lake = night.lake

    def num_weights(model: str, domain: str) -> int:
        with open_folder(lake.at(model_location("rated", c.BACKTEST, model, domain))) as folder:
            ranker = load_ranker(folder)
        assert ranker is not None
        return len(ranker.weights_F)

    for model in (c.CROSSREC, c.STACKED_BASELINES):  # the same sources: only the rated domain reads more
        assert num_weights(model, FILMS) == num_weights(model, "books") + 2

    probabilities = {
        (row[c.USER_ID], row[c.ITEM_ID]): row[c.PROBABILITY]
        for row in read_rows(lake, t.PAIR_PROBABILITIES, where={c.RUN_ID: "rated", c.PURPOSE: c.VALIDATE})
        if row[c.DOMAIN] == FILMS and row[c.MODEL] == c.CROSSREC
    }
    liked = [found for key, found in probabilities.items() if stars(*key) == 5]
    others = [found for key, found in probabilities.items() if stars(*key) < 4]
    assert sum(liked) / len(liked) > sum(others) / len(others) + 0.2

    served = replace(find_served(lake, FILMS), models=(c.CROSSREC,) * 3)
    listed = read_lists(lake, served, ["user8", "user9"], n=10).to_dicts()
    for user in ("user8", "user9"):
        fresh = score_fresh(lake, served, user, n=10)
        assert fresh is not None
        own = [(row["item_id"], row["probability"]) for row in listed if row["user_id"] == user]
        assert [(row["item_id"], row["probability"]) for row in fresh.to_dicts()] == own

    before = published(lake, c.CROSSREC)
    logged = log.read_text()
    unseen = [f"user9,{item_name(FILMS, item)},{FIRST_DAY + 125 * DAY_S}" for item in range(0, 20, 4)]
    log.write_text(logged + "".join(f"{row},1\n" for row in unseen))
    few = refreshed(settings, spark, "few", everyone=False)
    assert len(read_rows(lake, t.USER_LIKES, where={c.RUN_ID: "few"})) == 1  # user 9, in films
    assert few == refreshed(settings, spark, "all", everyone=True)
    assert {key: found for key, found in few.items() if key[0] != "user9"} == {
        key: found for key, found in before.items() if key[0] != "user9"
    }
    log.write_text(logged + "".join(f"{row},5\n" for row in unseen))
    liked_instead = refreshed(settings, spark, "liked", everyone=False)
    both = [key for key in few if key[0] == "user9" and key in liked_instead]
    assert both
    assert all(few[key] < liked_instead[key] for key in both)
