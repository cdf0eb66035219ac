"""serve: the winner's lists for everyone known."""

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows
from jobs import fit_baselines, serve
from jobs.steps import Night
from tests import scoring_world as world

RUN = "r1"


def night_of(lake: Lake) -> Night:
    return Night(RUN, date(2026, 1, 31), lake)


EVERYONE = c.USER_SEGMENTS


def report_row(domain: str, decision: str, segment: str = c.ALL) -> dict[str, Any]:
    text = {c.PURPOSE: c.VALIDATE, c.SEGMENT: segment, c.MODEL: decision, c.BASELINE: decision, c.METRIC: "ndcg"}
    numbers = ["value", "baseline_value", c.DIFFERENCE, c.CI_LOW, c.CI_HIGH]
    return {
        c.RUN_ID: RUN, c.DOMAIN: domain, **text, c.N: 5, **dict.fromkeys(numbers, 0.0), c.NUM_USERS: 1,
        "decision": decision, c.REASON: "because",
    }  # fmt: skip


def test_the_guards_winner_is_served_and_a_domain_without_a_decision_gets_the_default(
    lake: Lake, tmp_path: Path
) -> None:
    write_rows(lake, t.TRANSFER_REPORT, [report_row("films", "popularity")], replace={c.RUN_ID: RUN})
    settings = world.read_world_settings(tmp_path)
    assert serve.choose_models(settings, night_of(lake)) == {
        "books": {"transferred": EVERYONE}, "films": {"popularity": EVERYONE},
    }  # fmt: skip


def test_each_segment_gets_its_own_winner_and_without_one_its_domains(lake: Lake, tmp_path: Path) -> None:
    decided = {c.ALL: "markov", c.WARM: "transferred", c.NEW: "popularity"}
    rows = [report_row("films", model, segment) for segment, model in decided.items()]
    write_rows(lake, t.TRANSFER_REPORT, rows, replace={c.RUN_ID: RUN})
    chosen = serve.choose_models(world.read_world_settings(tmp_path), night_of(lake))["films"]
    assert chosen == {"markov": (c.COLD_IN_DOMAIN,), "popularity": (c.NEW,), "transferred": (c.WARM,)}


def test_without_neural_stages_markov_is_the_default_and_all_means_all(lake: Lake, tmp_path: Path) -> None:
    skipped = {"finetune": {"max_epochs": 0}, "target_only": {"max_epochs": 0}}
    baselines = {"models": ["popularity", "markov"]}
    settings = world.read_world_settings(tmp_path, train=skipped, baselines=baselines)
    assert serve.choose_models(settings, night_of(lake))["films"] == {"markov": EVERYONE}
    settings = world.read_world_settings(
        tmp_path, train=skipped, baselines=baselines, score={"n": 5, "serve_models": "all"}
    )
    assert serve.choose_models(settings, night_of(lake))["films"] == {"markov": EVERYONE, "popularity": EVERYONE}
    settings = world.read_world_settings(tmp_path, train=skipped, baselines={"models": []})
    with pytest.raises(LakeError, match="no model to serve"):
        serve.choose_models(settings, night_of(lake))


@pytest.mark.spark
def test_every_known_user_gets_a_full_list_of_the_winner_in_every_target(
    spark: SparkSession, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_ids(lake, run_id=RUN)
    world.write_lake(lake, run_id=RUN, purpose=c.SERVE)
    fitted = {(row[c.MODEL], row[c.DOMAIN]): row for row in read_rows(lake, t.MODELS)}
    decisions = [
        report_row("films", "markov"), report_row("films", "popularity", c.COLD_IN_DOMAIN),
        report_row("books", "popularity"),
    ]  # fmt: skip
    write_rows(lake, t.TRANSFER_REPORT, decisions, replace={c.RUN_ID: RUN})
    fit = lambda *_, purpose, model, domain: {**fitted[model, domain], c.PURPOSE: purpose}  # noqa: E731
    monkeypatch.setattr(fit_baselines, "fit_for_purpose", fit)
    counts = serve.run(world.read_world_settings(tmp_path), night_of(lake), spark)
    rows = read_rows(lake, t.RECOMMENDATIONS)
    assert counts == {"models": 3, "recommendations": len(rows)}
    served = {(row[c.USER_ID], row[c.DOMAIN]): row[c.MODEL] for row in rows}
    with_films = [user for user, (_, films, _) in world.USERS.items() if films]
    for user, domain in served:
        is_warm_or_new = user in (*with_films, c.NEW_USER_ID)
        assert served[user, domain] == ("markov" if domain == "films" and is_warm_or_new else "popularity")
    sizes = Counter((row[c.USER_ID], row[c.DOMAIN]) for row in rows)
    known = [user for user, (events, _, _) in world.USERS.items() if events]
    short = {("has nearly all", "films"): 2}
    everyone = {(user, domain): 5 for user in [*known, c.NEW_USER_ID] for domain in world.DOMAINS}
    assert sizes == everyone | short
    assert {row[c.PURPOSE] for row in rows} == {c.SERVE}
    fits = [(row[c.MODEL], row[c.DOMAIN]) for row in read_rows(lake, t.MODELS, where={c.PURPOSE: c.SERVE})]
    assert sorted(fits) == [("markov", "films"), ("popularity", "books"), ("popularity", "films")]
