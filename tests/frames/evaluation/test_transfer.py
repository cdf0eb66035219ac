"""The guard: who serves a segment of a domain, by the one-standard-error rule."""

import pytest
from pyspark.sql import Row

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.intervals import STANDARD_ERROR
from crossrec_core.frames.evaluation.transfer import (
    BASELINES,
    UNTESTED_ORDER,
    Decision,
    Difference,
    Pair,
    choose,
    decide,
    in_order,
    transfer_comparison,
)
from jobs.baseline_settings import KINDS

MEANS = {"popularity": 0.01, "markov": 0.04, "target_only": 0.05, "transferred": 0.06}


def difference(mean: float, standard_error: float) -> Difference:
    return Difference(mean, standard_error, mean - 2 * standard_error, mean + 2 * standard_error)


def differences_of(means: dict[str, float], standard_error: float) -> dict[Pair, Difference]:
    return {(a, b): difference(means[a] - means[b], standard_error) for a in means for b in means if a != b}


@pytest.mark.parametrize(
    ("changed", "standard_error", "served"),
    [
        ({}, 0.005, "transferred"),
        ({"target_only": 0.056}, 0.005, "target_only"),  # within one standard error of the best, and simpler
        ({"transferred": 0.03}, 0.005, "target_only"),  # the best is not transferred
        ({}, 0.025, "markov"),  # markov is within one standard error, popularity is not
        ({}, 0.06, "popularity"),  # nothing is certain: the simplest
        ({"popularity": 0.06, "transferred": 0.05}, 0.005, "popularity"),  # the best is the simplest
        ({"crossrec": 0.08}, 0.005, "crossrec"),  # the least simple
        ({"crossrec": 0.064}, 0.005, "transferred"),
    ],
)
def test_the_guard_serves(changed: dict[str, float], standard_error: float, served: str) -> None:
    means = {**MEANS, **changed}
    assert choose(means, differences_of(means, standard_error))[0] == served


def test_a_difference_of_exactly_one_standard_error_is_within() -> None:
    means = {"popularity": 0.5, "markov": 0.75}
    assert choose(means, {("markov", "popularity"): difference(0.25, 0.25)})[0] == "popularity"
    assert choose(means, {("markov", "popularity"): difference(0.25, 0.2499)})[0] == "markov"


def test_a_transfer_that_hurts_is_out_even_where_it_would_be_within_one_standard_error_of_the_best() -> None:
    """A harmful source: transferred is surely worse than the control, and near a best that is noisy against it."""
    means = {"target_only": 0.05, "transferred": 0.045, "crossrec": 0.06}
    differences = {
        ("transferred", "target_only"): Difference(-0.005, 0.001, -0.007, -0.003),
        ("crossrec", "target_only"): Difference(0.01, 0.004, 0.002, 0.018),
        ("crossrec", "transferred"): Difference(0.015, 0.02, -0.025, 0.055),
    }
    model, reason = choose(means, differences)
    assert model == "crossrec"
    assert reason.endswith("; transferred 0.0450 hurts against target_only 0.0500: interval -0.0070 to -0.0030")
    harmless = {**differences, ("transferred", "target_only"): Difference(-0.005, 0.003, -0.011, 0.001)}
    assert choose(means, harmless)[0] == "transferred"


def test_the_reason_holds_the_figures() -> None:
    assert choose(MEANS, differences_of(MEANS, 0.005))[1] == (
        "transferred 0.0600 is the best, by more than one standard error; the next simpler is target_only 0.0500 "
        "(+0.0100, standard error 0.0050)"
    )
    assert choose(MEANS, differences_of(MEANS, 0.03))[1] == (
        "markov 0.0400 is the simplest within one standard error of transferred 0.0600 (+0.0200, standard error 0.0300)"
    )
    assert choose({"markov": 0.04}, {}) == ("markov", "markov 0.0400 is the best and nothing is simpler")


def row_of(domain: str, segment: str, model: str, baseline: str | None, value: float, num_users: int) -> Row:
    """An interval's row; a pair's value is its difference."""
    return Row(**{
        c.DOMAIN: domain, c.SEGMENT: segment, c.MODEL: model, c.BASELINE: baseline, "value": value,
        c.DIFFERENCE: value if baseline else None, STANDARD_ERROR: 0.01, c.CI_LOW: value - 0.02,
        c.CI_HIGH: value + 0.02, c.NUM_USERS: num_users,
    })  # fmt: skip


def rows_of(domain: str, segment: str, markov: float, transferred: float, num_users: int) -> list[Row]:
    return [
        row_of(domain, segment, "markov", None, markov, num_users),
        row_of(domain, segment, "transferred", None, transferred, num_users),
        row_of(domain, segment, "transferred", "markov", transferred - markov, num_users),
    ]


def decisions_of(rows: list[Row], available: dict[str, list[str]]) -> dict[tuple[str, str], Decision]:
    decisions = decide(rows, available, guard_metric="ndcg", guard_n=10, min_users=100)
    assert len({(decision.domain, decision.segment) for decision in decisions}) == len(decisions)
    return {(decision.domain, decision.segment): decision for decision in decisions}


@pytest.mark.parametrize(
    ("models", "served"),
    [(["markov", "transferred"], "transferred"), (["popularity", "markov"], "markov"), (["als"], "als")],
)
def test_without_validation_truth_a_default_serves_and_says_so(models: list[str], served: str) -> None:
    decisions = decisions_of([], {"films": models})
    whole = decisions["films", c.ALL]
    assert (whole.model, whole.num_users) == (served, 0)
    assert whole.reason == f"no validation truth: {served} by default, untested"
    assert {decision.model for decision in decisions.values()} == {served}


def test_each_domain_and_segment_is_decided_by_its_own_rows() -> None:
    rows = [
        *rows_of("films", c.ALL, 0.2, 0.25, 400), *rows_of("films", c.WARM, 0.3, 0.2, 150),
        *rows_of("films", c.COLD_IN_DOMAIN, 0.1, 0.3, 150), *rows_of("films", c.NEW, 0.3, 0.1, 99),
        *rows_of("books", c.ALL, 0.2, 0.1, 7),
    ]  # fmt: skip
    decisions = decisions_of(
        rows, {"films": ["markov", "transferred"], "books": ["markov", "transferred"], "empty": []}
    )
    assert {part: decision.model for part, decision in decisions.items()} == {
        ("films", c.ALL): "transferred", ("films", c.WARM): "markov", ("films", c.COLD_IN_DOMAIN): "transferred",
        ("films", c.NEW): "transferred",  # too few users: as the domain
        ("books", c.ALL): "markov", ("books", c.WARM): "markov", ("books", c.COLD_IN_DOMAIN): "markov",
        ("books", c.NEW): "markov",
    }  # fmt: skip
    assert decisions["films", c.WARM].reason.startswith("ndcg@10 on 150 warm validation users: markov 0.3000 is the")
    assert decisions["films", c.NEW].reason.startswith("99 new validation users, fewer than 100: as the whole domain")
    assert decisions["books", c.ALL].reason.startswith("ndcg@10 on 7 validation users: ")
    assert decisions["films", c.COLD_IN_DOMAIN].value == 0.3


def test_models_that_were_not_fitted_for_the_domain_do_not_serve_it() -> None:
    decisions = decisions_of(rows_of("films", c.ALL, 0.1, 0.9, 500), {"films": ["markov"]})
    assert decisions["films", c.ALL].model == "markov"


def test_the_order_of_simplicity_ends_with_what_it_does_not_list() -> None:
    models = ["a_new_one", "crossrec", "transferred", "als", "popularity", "target_only"]
    assert in_order(models) == ["popularity", "als", "target_only", "transferred", "crossrec", "a_new_one"]


def test_every_baseline_that_the_settings_can_switch_on_is_simpler_than_a_neural_model() -> None:
    assert set(BASELINES) == set(KINDS)
    assert set(UNTESTED_ORDER) == {*BASELINES, c.TARGET_ONLY, c.TRANSFERRED}


def test_every_model_is_held_against_all_simpler_ones() -> None:
    comparison = transfer_comparison(["transferred", "markov", "target_only"], [5, 10], guard_metric="mrr", guard_n=10)
    assert set(comparison.pairs) == {
        ("target_only", "markov"), ("transferred", "markov"), ("transferred", "target_only"),
    }  # fmt: skip
    assert set(comparison.measures) == {("mrr", 10), ("recall", 10), ("ndcg", 5), ("ndcg", 10)}
