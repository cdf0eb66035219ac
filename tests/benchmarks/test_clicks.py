"""Losses of click probabilities in the suites, on users whose sums are known."""

from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality_suites.clicks import click_rows, read_clicks, rounded, with_best_constant
from benchmarks.quality_suites.finished import Finished
from benchmarks.quality_suites.guarded import SERVED, with_chosen
from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.suite import Comparison, Part, Suite
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from jobs.steps import start_night
from tests.small_lake import small_settings

COLUMNS = ["table", "cut", "seed", "model", "domain", "user_id", "segment", "metric", "n", "value"]
SUMS = ("click_pairs", "click_positives", "click_log_loss_sum", "click_brier_sum")


def make_suite(*comparisons: Comparison, **options) -> Suite:
    metrics = ["click_log_loss", "click_brier", "click_auc"]
    return Suite(name="made", title="t", protocol="p", metrics=metrics, comparisons=list(comparisons), **options)


def make_sums(*rows, domain="a", cut="", seed=1) -> pd.DataFrame:
    """(model, user, pairs, positives, log loss, Brier) to long rows."""
    made = [
        ("", cut, seed, model, domain, user, "warm", metric, 0, float(value))
        for model, user, *values in rows
        for metric, value in zip(SUMS, values, strict=True)
    ]
    return pd.DataFrame(made, columns=COLUMNS)


def many_users(*, domain="a", crossrec=0.3, floor=0.4) -> pd.DataFrame:
    """200 users with 5 or 10 pairs, a fifth of them clicks; a model loses its level per pair, times the user's luck."""
    luck = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    rows = [
        (model, f"u{user}", pairs, pairs // 5, level * luck[user] * pairs, level / 3 * luck[user] * pairs)
        for model, level in (("crossrec", crossrec), ("stacked_baselines", floor))
        for user, pairs in ((user, 5 + 5 * (user % 2)) for user in range(200))
    ]
    return make_sums(*rows, domain=domain)


def test_a_loss_is_a_mean_over_pairs_and_not_over_users():
    values = make_sums(("m", "u", 9, 3, 1.8, 0.9), ("m", "v", 1, 1, 1.0, 0.5))
    rows, _ = measure(values, make_suite(), samples=200, seconds=1.0)
    value = {(row["model"], row["metric"]): row["value"] for row in rows}
    assert value["m", "click_log_loss"] == pytest.approx((1.8 + 1.0) / 10)
    assert value["m", "click_brier"] == pytest.approx((0.9 + 0.5) / 10)
    assert {row["n"] for row in rows} == {0}
    assert {row["metric"] for row in rows} == {"click_log_loss", "click_brier"}


def test_the_best_constant_says_the_base_rate_of_each_cut_and_domain():
    first = make_sums(("m", "u", 4, 1, 2.0, 1.0), ("m", "v", 6, 1, 2.0, 1.0), ("k", "u", 4, 1, 3.0, 2.0))
    second = make_sums(("m", "u", 2, 1, 2.0, 1.0), cut="later")
    found = with_best_constant(pd.concat([first, second]))
    own = found[found["model"] == "best_constant"].set_index(["cut", "user_id", "metric"])["value"]
    assert own["", "u", "click_log_loss_sum"] == pytest.approx(-log(0.2) - 3 * log(0.8))
    assert own["", "v", "click_brier_sum"] == pytest.approx(0.8**2 + 5 * 0.2**2)
    assert own["later", "u", "click_brier_sum"] == pytest.approx(2 * 0.5**2)
    assert own["", "v", "click_pairs"] == 6


def test_suites_without_clicks_have_no_constant():
    values = make_sums(("m", "u", 4, 1, 2.0, 1.0)).assign(metric="ndcg")
    assert with_best_constant(values) is values


def test_above_means_a_lower_loss_and_the_best_baseline_is_the_lowest():
    losses = ["click_log_loss", "click_brier"]
    suite = make_suite(Comparison(model="crossrec", baselines=["stacked_baselines", "best_constant"], metrics=losses))
    _, found = measure(many_users(), suite, samples=500, seconds=0)
    assert [row["metric"] for row in found] == losses
    for row in found:
        assert (row["baseline"], row["num_baselines"]) == ("stacked_baselines", 2)
        assert row["gain"] == pytest.approx(0.25)
        assert 0 < row["holm_low"] < row["difference"] < row["holm_high"]
    _, lost = measure(many_users(crossrec=0.6, floor=0.7), suite, samples=500, seconds=0)
    assert lost[0]["baseline"] == "best_constant"
    assert lost[0]["holm_high"] < 0


def test_pools_weigh_their_domains_by_pairs():
    values = pd.concat([many_users(crossrec=0.1), make_sums(("crossrec", "x", 100, 20, 50.0, 9.0), domain="b")])
    rows, _ = measure(values, make_suite(pools={"all": ["a", "b"]}), samples=200, seconds=0)
    found = {row["domain"]: row["value"] for row in rows if row["model"] == "crossrec" and row["metric"][6:] == "brier"}
    assert found["all"] == pytest.approx((found["a"] * 1500 + 9.0) / 1600)


def test_sums_are_rounded_and_counts_are_not_served():
    values = make_sums(("m", "u", 4, 1, 1 / 3, 1.0)).drop(columns=["table", "cut", "seed"])
    assert rounded(values).set_index("metric")["value"]["click_log_loss_sum"] == 0.33333
    assert len(with_chosen(values, {"a": {"all": "m"}}, SERVED)) == len(values)


def test_other_measures_come_from_metrics_cut_by_cut(tmp_path):
    settings = small_settings(tmp_path, lake={"path": str(tmp_path / "lake")})
    night, suite = start_night(settings, run_id="r"), make_suite()
    stored = [("click_auc", 0.7), ("click_auc", None), ("click_brier", 0.1), ("ndcg", 0.2)]
    rows = [
        {"run_id": "r", "model": f"m{k}", "domain": "all", "segment": "all", "metric": metric, "n": 0, "value": value,
         "ci_low": value, "ci_high": value, "num_users": 5}
        for k, (metric, value) in enumerate(stored)
    ]  # fmt: skip
    write_rows(night.lake, t.METRICS, rows, replace={"run_id": "r"})
    first = read_clicks(night, suite)
    assert [(row["model"], row["metric"], row["value"]) for row in first] == [("m0", "click_auc", 0.7)]
    second = [first[0] | {"value": 0.8, "ci_low": 0.75}]
    part = Part(name="main", keep={"m0": "renamed"})
    finished = [
        Finished(part, cut, seed, Path("x"), {"clicks": clicks})
        for cut, seed, clicks in (("c1", 1, first), ("c1", 2, second), ("c2", 1, first))
    ]
    found = {row["segment"]: row for row in click_rows(finished, suite, seconds=2.0)}
    assert set(found) == {"c1", "c2"}
    assert found["c1"]["value"] == pytest.approx(0.75)
    assert found["c1"]["ci_low"] == pytest.approx((0.7 + 0.75) / 2)
    assert {key: found["c1"][key] for key in ("suite", "model", "domain", "n", "num_users", "seeds", "seconds")} == {
        "suite": "made", "model": "renamed", "domain": "all", "n": 0, "num_users": 5, "seeds": 2, "seconds": 2.0,
    }  # fmt: skip
