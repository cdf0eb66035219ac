"""Result rows and comparisons of a suite, on users made so that the outcome is known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality_suites.measure import measure
from benchmarks.quality_suites.suite import Comparison, Suite
from tests.benchmarks.made_values import make_values

ROW = {
    "suite",
    "domain",
    "segment",
    "model",
    "metric",
    "n",
    "value",
    "ci_low",
    "ci_high",
    "num_users",
    "seeds",
    "seconds",
}


def make_suite(*comparisons: Comparison, **options) -> Suite:
    return Suite(
        name="made", title="made up", protocol="none", metrics=["ndcg@10"], comparisons=list(comparisons), **options
    )


def many_users(**models: float) -> pd.DataFrame:
    """200 users in each of two domains; a model's measure is its level times the user's luck."""
    luck = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    rows = [
        (model, domain, f"u{user}", "warm", level * luck[user])
        for model, level in models.items()
        for domain in ("a", "b")
        for user in range(200)
    ]
    return make_values(*rows)


def test_a_result_row_has_the_agreed_fields_and_the_mean_over_seeds():
    first, second = (many_users(crossrec=level).assign(seed=seed) for seed, level in ((1, 0.2), (2, 0.4)))
    rows, comparisons = measure(pd.concat([first, second]), make_suite(), samples=200, seconds=12.5)
    assert comparisons == []
    assert [row["domain"] for row in rows] == ["a", "b"]
    assert set(rows[0]) == ROW
    assert rows[0]["value"] == pytest.approx((first["value"].mean() + second["value"].mean()) / 2)
    assert rows[0]["ci_low"] < rows[0]["value"] < rows[0]["ci_high"]
    assert (rows[0]["suite"], rows[0]["num_users"], rows[0]["seeds"], rows[0]["seconds"]) == ("made", 200, 2, 12.5)


def test_a_row_has_the_seeds_of_its_poorest_cut():
    values = many_users(crossrec=0.2)
    nights = [("a1", 1), ("a1", 2), ("a2", 2)]
    whole = pd.concat([values[values["domain"] == "a"].assign(cut=cut, seed=seed) for cut, seed in nights])
    whole = pd.concat([whole, *(values[values["domain"] == "b"].assign(cut="a1", seed=seed) for seed in (1, 2, 3))])
    rows, _ = measure(whole, make_suite(pools={"both": ["a", "b"]}), samples=200, seconds=0)
    assert {row["domain"]: row["seeds"] for row in rows} == {"a": 1, "b": 3, "both": 1}
    assert rows[0]["num_users"] == 200
    drawn, _ = measure(whole, make_suite(pools={"both": ["a", "b"]}, seed_per_cut=True), samples=200, seconds=0)
    assert {row["domain"]: row["seeds"] for row in drawn} == {"a": 2, "b": 3, "both": 2}


def test_the_best_floor_is_chosen_on_the_test_and_losses_come_out_negative():
    values = many_users(crossrec=0.3, markov=0.4, popularity=0.1, target_only=0.2)
    suite = make_suite(Comparison(model="crossrec"), Comparison(model="crossrec", baselines=["target_only"], gain=0.1))
    _, found = measure(values, suite, samples=500, seconds=0)
    against = {(row["domain"], row["baseline"]): row for row in found}
    assert set(against) == {("a", "markov"), ("a", "target_only"), ("b", "markov"), ("b", "target_only")}
    loss, win = against["a", "markov"], against["a", "target_only"]
    assert loss["gain"] == pytest.approx(-0.25)
    assert loss["holm_high"] < 0 < win["holm_low"]
    assert (loss["num_baselines"], win["num_baselines"], win["goal"]) == (2, 1, 0.1)


def test_the_family_is_the_whole_suite():
    values = many_users(crossrec=0.3, target_only=0.3)
    noise = np.random.default_rng(1).normal(0, 0.2, len(values))
    values["value"] += np.where(values["model"] == "crossrec", noise, 0)
    one = make_suite(Comparison(model="crossrec", baselines=["target_only"], domains=["a"]))
    both = make_suite(Comparison(model="crossrec", baselines=["target_only"]))
    (alone,), found = (measure(values, suite, samples=500, seconds=0)[1] for suite in (one, both))
    smaller, larger = sorted(found, key=lambda row: row["p"])
    assert alone["p_holm"] == alone["p"]
    assert smaller["p_holm"] == pytest.approx(min(1, 2 * smaller["p"]))
    assert larger["p_holm"] == max(larger["p"], smaller["p_holm"])
    assert all(row["holm_low"] <= row["ci_low"] for row in found)


def test_a_pool_counts_every_cell_and_every_user_once():
    suite = make_suite(Comparison(model="crossrec", baselines=["markov"], domains=["both"]), pools={"both": ["a", "b"]})
    values = many_users(crossrec=0.3, markov=0.4)
    rows, (compared,) = measure(values, suite, samples=200, seconds=0)
    pooled = {row["model"]: row for row in rows if row["domain"] == "both"}
    assert pooled["crossrec"]["num_users"] == 200
    assert pooled["crossrec"]["value"] == pytest.approx(values[values["model"] == "crossrec"]["value"].mean())
    assert compared["domain"] == "both"


def test_a_pair_is_compared_where_both_were_measured():
    values = many_users(crossrec=0.3, markov=0.4)
    lacks = (values["model"] == "markov") & values["user_id"].isin([f"u{user}" for user in range(150)])
    suite = make_suite(Comparison(model="crossrec", baselines=["markov"]))
    _, found = measure(values[~lacks], suite, samples=200, seconds=0)
    assert found[0]["gain"] == pytest.approx(-0.25)


def test_tables_apart_have_names_of_their_own():
    values = many_users(crossrec=0.3, markov=0.2)
    suite = make_suite(Comparison(model="crossrec"))
    rows, found = measure(pd.concat([values, values.assign(table="shuffled")]), suite, samples=200, seconds=0)
    assert {row["suite"] for row in rows} == {"made", "made/shuffled"}
    assert len(found) == 4
