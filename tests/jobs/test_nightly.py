"""A whole night on the parity world: the right answers, the shape of what is published, the ledger."""

import json
from collections import defaultdict
from itertools import product

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.demo.world import BOOKS, FILMS, item_name
from crossrec_core.errors import ConfigError
from crossrec_core.lake import model_location
from crossrec_core.lake_reader import read_arrow
from crossrec_core.ledger import DONE, published_run, read_steps
from crossrec_core.tensors.network.checkpoint import load_about
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP
from crossrec_core.tensors.scoring.scorer import load_models
from jobs import serve
from jobs.lists import to_load, to_model
from jobs.nightly import STEPS, choose_steps
from tests.jobs.conftest import FinishedNight
from tests.lake_oracle import differences, expected_metrics
from tests.user_batches import batch_of

pytestmark = [pytest.mark.spark, pytest.mark.slow]

Lists = dict[tuple[str, str, str], list[str]]


def lists_of(finished: FinishedNight, purpose: str) -> Lists:
    """Item ids by (model, domain, user), best first."""
    where = {c.RUN_ID: finished.night.run_id, c.PURPOSE: purpose}
    rows = read_arrow(finished.night.lake, t.RECOMMENDATIONS, where=where).to_pylist()
    lists: Lists = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[c.RANK]):
        lists[row[c.MODEL], row[c.DOMAIN], row[c.USER_ID]].append(row[c.ITEM_ID])
    return lists


def test_the_run_is_published(finished_night: FinishedNight) -> None:
    assert published_run(finished_night.night.lake) == "parity"


def test_every_step_leaves_a_record(finished_night: FinishedNight) -> None:
    records = read_steps(finished_night.night.lake, "parity")
    assert [record.step for record in records] == list(STEPS)
    assert {record.state for record in records} == {DONE}
    assert all(record.seconds and record.peak_memory_mib for record in records)
    assert json.loads(records[0].row_counts)["read"] > 0


def test_kept_and_rejected_rows_are_all_that_was_read(finished_night: FinishedNight) -> None:
    counts = json.loads(read_steps(finished_night.night.lake, "parity")[0].row_counts)
    assert counts["interactions"] + counts["rejects"] == counts["read"]


def test_the_plans_of_what_spark_writes_were_checked(finished_night: FinishedNight) -> None:
    """The fixture checks every one for windows over one partition and joins without keys; these must be among them.

    The lists are written by Python workers; the frame of their users is checked where their files are collected.
    """
    expected = {
        "clean": {"interactions", "rejects"},
        "prepare": {"user_ids", "item_ids", "split_interactions", "histories", "sequences", "truth", "labelled_pairs"},
        "fit_baselines": {"transitions", "item_scores", "item_factors"},
        "score": {"pair_probabilities"},
        "evaluate": {"metrics", "user_metrics", "transfer_report"},
    }
    assert {step: tables - set(finished_night.written[step]) for step, tables in expected.items()} == {
        step: set() for step in expected
    }


def test_every_known_user_has_a_full_list_in_every_target(finished_night: FinishedNight) -> None:
    lists = lists_of(finished_night, c.SERVE)
    served = {(domain, user): len(items) for (_, domain, user), items in lists.items()}
    for domain in (BOOKS, FILMS):
        for user in finished_night.world.users:
            assert served[domain, user] == 10
        assert (domain, c.NEW_USER_ID) in served


def test_transfer_finds_the_right_kind_for_cold_users(finished_night: FinishedNight) -> None:
    """Cold users have books only: what they like of the films can come from nowhere else."""
    lists = lists_of(finished_night, c.BACKTEST)

    def share_of_right_kind(model: str) -> float:
        hits = [
            item == item_name(FILMS, int(item[len("film") :])) and int(item[len("film") :]) % 2 == int(user[4:]) % 2
            for user in finished_night.world.cold_users
            for item in lists[model, FILMS, user][:5]
        ]
        return sum(hits) / len(hits)

    assert share_of_right_kind("transferred") >= 0.9
    assert share_of_right_kind("popularity") <= 0.7


@pytest.mark.parametrize("model", [c.TRANSFERRED, c.CROSSREC])
def test_warm_users_get_the_item_that_nobody_let_them_touch(finished_night: FinishedNight, model: str) -> None:
    lists = lists_of(finished_night, c.BACKTEST)
    warm = [user for user in finished_night.world.users if user not in finished_night.world.cold_users]
    answers = finished_night.world.answers[FILMS]
    hits = [bool(answers[user] & set(lists[model, FILMS, user][:1])) for user in warm]
    assert sum(hits) / len(hits) >= 0.8


def test_seen_items_are_never_recommended(finished_night: FinishedNight) -> None:
    seen = defaultdict(set)
    for row in read_arrow(
        finished_night.night.lake, t.INTERACTIONS, where={c.RUN_ID: "parity"}, columns=[c.USER_ID, c.DOMAIN, c.ITEM_ID]
    ).to_pylist():
        seen[row[c.DOMAIN], row[c.USER_ID]].add(row[c.ITEM_ID])
    for (_, domain, user), items in lists_of(finished_night, c.SERVE).items():
        assert not seen[domain, user] & set(items)


def test_every_metric_equals_plain_python(finished_night: FinishedNight) -> None:
    lake, lists = finished_night.night.lake, finished_night.settings.evaluate.n
    expected = expected_metrics(lake, "parity", lists=lists, in_diversity=lambda user: True)
    assert len(expected) > 500
    assert differences(lake, "parity", expected) == []


def test_the_guard_says_what_it_serves_and_why(finished_night: FinishedNight) -> None:
    rows = read_arrow(finished_night.night.lake, t.TRANSFER_REPORT, where={c.RUN_ID: "parity"}).to_pylist()
    decisions = {(row[c.DOMAIN], row[c.SEGMENT]): row["decision"] for row in rows}
    for model, domain, user in lists_of(finished_night, c.SERVE):
        assert model == decisions[domain, segment_of(finished_night, domain, user)]
    assert {domain for domain, _ in decisions} == {BOOKS, FILMS}
    assert all("; transferred is " in row[c.REASON] for row in rows)


def segment_of(finished: FinishedNight, domain: str, user: str) -> str:
    """The segment of a user by what serving knows."""
    lake, where = finished.night.lake, {c.RUN_ID: "parity", c.PURPOSE: c.SERVE, c.DOMAIN: domain}
    names = {row[c.USER_NUM]: row[c.USER_ID] for row in read_arrow(lake, t.USER_IDS).to_pylist()}
    nums = read_arrow(lake, t.HISTORIES, where=where, columns=[c.USER_NUM]).to_pylist()
    warm = {names[row[c.USER_NUM]] for row in nums}
    return c.NEW if user == c.NEW_USER_ID else c.WARM if user in warm else c.COLD_IN_DOMAIN


def test_the_blend_is_served_from_sources_refitted_on_everything(
    finished_night: FinishedNight, spark: SparkSession
) -> None:
    settings, night = finished_night.settings, finished_night.night
    row = serve.fit(settings, night, spark, model=c.CROSSREC, domain=FILMS)
    sources = json.loads(row["settings"])["sources"]
    assert {c.TRANSFERRED, c.TARGET_ONLY, "markov"} <= set(sources)
    for name in sources:
        about = load_about(night.lake.at(model_location(night.run_id, c.SERVE, name, FILMS)))
        assert about.model == name
    (model,) = load_models(to_load([to_model(row)], settings, night, spark, purpose=c.SERVE))
    num = model.candidates.domain_num
    users = batch_of([[(int(model.candidates.items_V[0]), num)], []], max_len=4, seen={num: [[], []]})
    scores = model.score(users)
    assert scores.is_personal_B.tolist() == [True, False]
    assert bool((scores.block(0, 5)[0] > FILL_TOP).all())


def test_the_stacked_baselines_state_probabilities_and_make_no_lists(finished_night: FinishedNight) -> None:
    lake, where = finished_night.night.lake, {c.RUN_ID: "parity", c.MODEL: c.STACKED_BASELINES}
    fitted = read_arrow(lake, t.MODELS, where=where).to_pylist()
    assert {(row[c.PURPOSE], row[c.DOMAIN]) for row in fitted} == set(product((c.VALIDATE, c.BACKTEST), (BOOKS, FILMS)))
    assert {name for row in fitted for name in json.loads(row["settings"])["sources"]} == {"markov"}
    assert read_arrow(lake, t.RECOMMENDATIONS, where=where).num_rows == 0
    metrics = read_arrow(lake, t.METRICS, where={c.RUN_ID: "parity"}).to_pylist()
    assert {row[c.METRIC].split("_")[0] for row in metrics if row[c.MODEL] == c.STACKED_BASELINES} == {"click"}
    pairs = {
        model: {(row[c.USER_ID], row[c.ITEM_ID]) for row in read_arrow(
            lake, t.PAIR_PROBABILITIES, where={c.RUN_ID: "parity", c.MODEL: model, c.PURPOSE: c.BACKTEST}
        ).to_pylist()}
        for model in (c.STACKED_BASELINES, c.CROSSREC)
    }  # fmt: skip
    assert pairs[c.STACKED_BASELINES] == pairs[c.CROSSREC] != set()


def test_listed_probabilities_are_lower_than_those_of_sampled_pairs(finished_night: FinishedNight) -> None:
    """Of 20 films a user has up to 9 behind them; pairs hold one click to at most four others."""
    lake = finished_night.night.lake
    where = {c.RUN_ID: "parity", c.MODEL: c.CROSSREC, c.PURPOSE: c.BACKTEST, c.DOMAIN: FILMS}
    of_pairs = {(row[c.USER_ID], row[c.ITEM_ID]): row[c.PROBABILITY]
                for row in read_arrow(lake, t.PAIR_PROBABILITIES, where=where).to_pylist()}  # fmt: skip
    listed = {(row[c.USER_ID], row[c.ITEM_ID]): row[c.PROBABILITY]
              for row in read_arrow(lake, t.RECOMMENDATIONS, where=where).to_pylist()}  # fmt: skip
    both = of_pairs.keys() & listed.keys()
    assert len(both) > 20
    assert [(key, listed[key], of_pairs[key]) for key in both if not listed[key] < of_pairs[key]] == []


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, list(STEPS)),
        ({"from_": "serve"}, ["serve", "publish"]),
        ({"only": "score"}, ["score"]),
    ],
)
def test_steps_are_chosen_by_name(options: dict[str, str], steps: list[str]) -> None:
    assert choose_steps(**options) == steps


@pytest.mark.parametrize("options", [{"from_": "nothing"}, {"only": "nothing"}, {"from_": "score", "only": "score"}])
def test_a_step_that_does_not_exist_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        choose_steps(**options)
