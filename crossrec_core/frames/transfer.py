"""Intervals of models and pairs in, the transfer report and the guard's decision per target domain out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.intervals import STANDARD_ERROR, Comparison
from crossrec_core.tables import TRANSFER_REPORT

BASELINES = ("popularity", "decayed_popularity", "item_knn", "markov", "als")
# From the simplest: what the guard falls back to when a difference is within one standard error
SIMPLICITY = (*BASELINES, c.TARGET_ONLY, c.TRANSFERRED)
# What is served where nothing could be compared
UNTESTED_ORDER = (c.TRANSFERRED, "markov", "item_knn", "als", "decayed_popularity", "popularity", c.TARGET_ONLY)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """Mean paired difference of two models, and its standard error by bootstrap over users."""

    mean: float
    standard_error: float

    @property
    def is_worse(self) -> bool:
        return self.mean < -self.standard_error

    @property
    def is_better(self) -> bool:
        return self.mean > self.standard_error

    def __str__(self) -> str:
        return f"{self.mean:+.4f}, standard error {self.standard_error:.4f}"


@dataclass(frozen=True)
class Decision:
    """The model that serves a domain, why, and its mean on validation (0 where there was none)."""

    domain: str
    model: str
    reason: str
    value: float = 0.0
    num_users: int = 0


def transfer_comparison(lists: Sequence[int], *, guard_metric: str, guard_n: int) -> Comparison:
    """Every neural model against everything simpler; NDCG at every n, recall and the guard's metric at the guard's."""
    pairs = [(c.TRANSFERRED, c.TARGET_ONLY), *product((c.TRANSFERRED, c.TARGET_ONLY), BASELINES)]
    measures = {(guard_metric, guard_n), ("recall", guard_n), *[("ndcg", n) for n in lists]}
    return Comparison(tuple(pairs), tuple(sorted(measures)))


def decide(
    rows: Sequence[Row], available: Mapping[str, Sequence[str]], *, guard_metric: str, guard_n: int
) -> list[Decision]:
    """The guard: one decision for each domain of ``available``, which lists the models fitted for it.

    rows: intervals on validation over all users, of the guard's metric; single models and pairs.
    """
    decisions = []
    for domain, models in sorted(available.items()):
        of_domain = [row for row in rows if row[c.DOMAIN] == domain]
        means = {row[c.MODEL]: row["value"] for row in of_domain if row[c.BASELINE] is None}
        differences = {
            (row[c.MODEL], row[c.BASELINE]): Difference(row[c.DIFFERENCE], row[STANDARD_ERROR])
            for row in of_domain
            if row[c.BASELINE] is not None
        }
        num_users = max((row[c.NUM_USERS] for row in of_domain), default=0)
        known = {model: mean for model, mean in means.items() if model in SIMPLICITY}
        if known:
            model, reason = choose(known, differences)
            measured = f"{guard_metric}@{guard_n} on {num_users} validation users: {reason}"
            decisions.append(Decision(domain, model, measured, known[model], num_users))
        elif models:
            decisions.append(_untested(domain, models))
    return decisions


def choose(means: Mapping[str, float], differences: Mapping[Pair, Difference]) -> tuple[str, str]:
    """The model to serve and why, from means per model and paired differences (one-standard-error rule).

    transferred is set aside where it is worse than target_only by more than one standard error. A neural model is
    served only where it beats the best baseline by more than one; else that baseline, the simpler of the two.
    """
    baseline = _best([model for model in BASELINES if model in means], means)
    neural, set_aside = _neural_in_order(means, differences)
    if baseline is None:
        return neural[0], f"{_named(neural[0], means)}, no baseline to compare with{set_aside}"
    lost = []
    for model in neural:
        difference = differences[model, baseline]
        verdict = f"{_named(model, means)} against {_named(baseline, means)} ({difference})"
        if difference.is_better:
            return model, f"{verdict} is better by more than one standard error{set_aside}"
        lost.append(verdict)
    if not lost:
        return baseline, f"{_named(baseline, means)} is the best baseline and no neural model was fitted"
    return baseline, f"{'; '.join(lost)}: not better by more than one standard error, so the simpler one{set_aside}"


def to_transfer_report(intervals: DataFrame, decisions: DataFrame) -> DataFrame:
    """The pairs among ``intervals`` with their domain's decision: transfer_report without its run_id.

    decisions: (domain, decision, reason), one row per domain.
    """
    pairs = intervals.where(F.col(c.BASELINE).isNotNull()).join(F.broadcast(decisions), [c.DOMAIN], how="inner")
    return pairs.select(*[name for name in TRANSFER_REPORT.column_names if name != c.RUN_ID])


def lone_decision(decision: Decision, *, guard_metric: str, guard_n: int) -> dict[str, str | int | float]:
    """A row of transfer_report for a domain without pairs: the chosen model against itself, to have it on record."""
    return {
        c.PURPOSE: c.VALIDATE, c.DOMAIN: decision.domain, c.SEGMENT: c.ALL, c.MODEL: decision.model,
        c.BASELINE: decision.model, c.METRIC: guard_metric, c.N: guard_n, "value": decision.value,
        "baseline_value": decision.value, c.DIFFERENCE: 0.0, c.CI_LOW: 0.0, c.CI_HIGH: 0.0,
        c.NUM_USERS: decision.num_users, "decision": decision.model, c.REASON: decision.reason,
    }  # fmt: skip


def _neural_in_order(means: Mapping[str, float], differences: Mapping[Pair, Difference]) -> tuple[list[str], str]:
    """Neural models to try, in order, and a remark where transferred is not among them."""
    models = [model for model in (c.TRANSFERRED, c.TARGET_ONLY) if model in means]
    if len(models) < 2 or not differences[c.TRANSFERRED, c.TARGET_ONLY].is_worse:
        return models, ""
    difference = differences[c.TRANSFERRED, c.TARGET_ONLY]
    transferred, control = _named(c.TRANSFERRED, means), _named(c.TARGET_ONLY, means)
    return [c.TARGET_ONLY], f"; {transferred} is worse than {control} ({difference})"


def _best(models: Sequence[str], means: Mapping[str, float]) -> str | None:
    """The model with the best mean; the simpler one where two tie."""
    return max(models, key=lambda model: (means[model], -SIMPLICITY.index(model)), default=None)


def _untested(domain: str, models: Sequence[str]) -> Decision:
    model = next((name for name in UNTESTED_ORDER if name in models), sorted(models)[0])
    return Decision(domain, model, f"no validation truth: {model} by default, untested")


def _named(model: str, means: Mapping[str, float]) -> str:
    return f"{model} {means[model]:.4f}"
