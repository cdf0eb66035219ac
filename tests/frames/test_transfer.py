"""The guard: who serves a domain, by the one-standard-error rule."""

import pytest
from pyspark.sql import Row

from crossrec_core import columns as c
from crossrec_core.frames.intervals import STANDARD_ERROR
from crossrec_core.frames.transfer import Difference, Pair, choose, decide, transfer_comparison

MEANS = {"popularity": 0.01, "markov": 0.04, "target_only": 0.05, "transferred": 0.06}


def differences_of(means: dict[str, float], standard_error: float) -> dict[Pair, Difference]:
    return {(a, b): Difference(means[a] - means[b], standard_error) for a in means for b in means if a != b}


@pytest.mark.parametrize(
    ("changed", "standard_error", "served"),
    [
        ({}, 0.005, "transferred"),
        ({"transferred": 0.048}, 0.005, "transferred"),  # worse than target_only, within one standard error
        ({"transferred": 0.03}, 0.005, "target_only"),  # worse by more
        ({"transferred": 0.03, "target_only": 0.042}, 0.005, "markov"),  # target_only beats it by less than one
        ({"transferred": 0.047, "target_only": 0.05}, 0.008, "target_only"),  # only target_only beats the baseline
        ({}, 0.03, "markov"),  # nothing is certain: the simplest of the good ones
        ({"popularity": 0.04}, 0.03, "popularity"),  # two baselines tie: the simpler
    ],
)
def test_the_guard_serves(changed: dict[str, float], standard_error: float, served: str) -> None:
    means = {**MEANS, **changed}
    assert choose(means, differences_of(means, standard_error))[0] == served


def test_a_difference_of_exactly_one_standard_error_is_neither_better_nor_worse() -> None:
    assert not Difference(0.5, 0.5).is_better
    assert not Difference(-0.5, 0.5).is_worse


def test_the_reason_holds_the_figures() -> None:
    reason = choose(MEANS, differences_of(MEANS, 0.005))[1]
    assert reason == (
        "transferred 0.0600 against markov 0.0400 (+0.0200, standard error 0.0050) "
        "is better by more than one standard error"
    )


def test_the_reason_says_why_transfer_was_set_aside() -> None:
    means = {**MEANS, "transferred": 0.03}
    reason = choose(means, differences_of(means, 0.005))[1]
    assert reason.endswith("transferred 0.0300 is worse than target_only 0.0500 (-0.0200, standard error 0.0050)")


def test_without_neural_models_the_best_baseline_serves() -> None:
    means = {"popularity": 0.01, "markov": 0.04}
    assert choose(means, {}) == ("markov", "markov 0.0400 is the best baseline and no neural model was fitted")


def test_without_baselines_the_neural_model_serves() -> None:
    assert choose({"transferred": 0.1}, {})[0] == "transferred"


@pytest.mark.parametrize(
    ("models", "served"),
    [(["markov", "transferred"], "transferred"), (["popularity", "markov"], "markov"), (["als"], "als")],
)
def test_without_validation_truth_a_default_serves_and_says_so(models: list[str], served: str) -> None:
    (decision,) = decide([], {"films": models}, guard_metric="ndcg", guard_n=10)
    assert (decision.model, decision.num_users) == (served, 0)
    assert decision.reason == f"no validation truth: {served} by default, untested"


def test_each_domain_is_decided_by_its_own_rows() -> None:
    rows = [
        Row(**{c.DOMAIN: domain, c.MODEL: model, c.BASELINE: baseline, "value": value, c.DIFFERENCE: difference,
               STANDARD_ERROR: 0.01, c.NUM_USERS: 7})
        for domain, model, baseline, value, difference in (
            ("films", "markov", None, 0.1, None), ("films", "transferred", None, 0.2, None),
            ("films", "transferred", "markov", 0.2, 0.1),
            ("books", "markov", None, 0.2, None), ("books", "transferred", None, 0.1, None),
            ("books", "transferred", "markov", 0.1, -0.1),
        )
    ]  # fmt: skip
    decisions = decide(rows, {"films": ["markov"], "books": []}, guard_metric="ndcg", guard_n=10)
    assert {decision.domain: (decision.model, decision.value) for decision in decisions} == {
        "books": ("markov", 0.2), "films": ("transferred", 0.2),
    }  # fmt: skip
    assert decisions[0].reason.startswith("ndcg@10 on 7 validation users: ")


def test_only_neural_models_are_held_against_simpler_ones() -> None:
    comparison = transfer_comparison([5, 10], guard_metric="mrr", guard_n=10)
    assert {model for model, _ in comparison.pairs} == {"transferred", "target_only"}
    assert ("target_only", "transferred") not in comparison.pairs
    assert set(comparison.measures) == {("mrr", 10), ("recall", 10), ("ndcg", 5), ("ndcg", 10)}
