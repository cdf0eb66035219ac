"""Intervals of models and pairs in, the transfer report and the guard's decision per target domain and segment out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.evaluation.intervals import STANDARD_ERROR, Comparison
from crossrec_core.frames.prepared.segments import SEGMENTS
from crossrec_core.tables import TRANSFER_REPORT

BASELINES = (
    "popularity", "decayed_popularity", "text_knn", "item_knn", "markov", "ease", "slist", "als", "ials",
    "cmf", "emcdr",
)  # fmt: skip
# From the simplest: whom the guard prefers among models within one standard error. What is not listed is less simple.
SIMPLICITY = (*BASELINES, c.TARGET_ONLY, c.TRANSFERRED, c.ADAPTED, c.CROSSREC)
# What is served where nothing could be compared
UNTESTED_ORDER = (
    c.TRANSFERRED, "markov", "slist", "item_knn", "ease", "cmf", "als", "ials", "emcdr", "text_knn",
    "decayed_popularity", "popularity", c.TARGET_ONLY,
)  # fmt: skip
# Whom decisions are made for: a whole domain, then each segment of its users
GUARDED = (c.ALL, *c.USER_SEGMENTS)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """Mean paired difference of two models, its standard error and 95 % interval by bootstrap over users."""

    mean: float
    standard_error: float
    ci_low: float
    ci_high: float

    @property
    def is_loss(self) -> bool:
        return self.ci_high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f}, standard error {self.standard_error:.4f}"


@dataclass(frozen=True)
class Decision:
    """The model that serves a segment of a domain, why, and its mean on validation (0 where there was none)."""

    domain: str
    segment: str
    model: str
    reason: str
    value: float = 0.0
    num_users: int = 0


def in_order(models: Iterable[str]) -> list[str]:
    """The models from the simplest; those that ``SIMPLICITY`` does not list come last, by name."""
    places = {model: place for place, model in enumerate(SIMPLICITY)}
    return sorted(set(models), key=lambda model: (places.get(model, len(places)), model))


def transfer_comparison(models: Iterable[str], lists: Sequence[int], *, guard_metric: str, guard_n: int) -> Comparison:
    """Every model against everything simpler; NDCG at every n, recall and the guard's metric at the guard's."""
    pairs = [(model, simpler) for simpler, model in combinations(in_order(models), 2)]
    measures = {(guard_metric, guard_n), ("recall", guard_n), *[("ndcg", n) for n in lists]}
    return Comparison(tuple(pairs), tuple(sorted(measures)))


def decide(
    rows: Sequence[Row], available: Mapping[str, Sequence[str]], *, guard_metric: str, guard_n: int, min_users: int
) -> list[Decision]:
    """The guard: for each domain of ``available``, the models fitted for it, a decision for every part of GUARDED.

    rows: intervals on validation, of the guard's metric; single models and pairs. A segment with fewer than
    ``min_users`` users is decided as its domain.
    """
    decisions = []
    for domain, models in sorted(available.items()):
        own = {part: [row for row in rows if (row[c.DOMAIN], row[c.SEGMENT]) == (domain, part)] for part in GUARDED}
        measure = f"{guard_metric}@{guard_n}"
        whole = _decide_one(own[c.ALL], domain, c.ALL, models, measure=measure)
        if whole is None:
            continue
        decisions.append(whole)
        for segment in c.USER_SEGMENTS:
            num_users = max((row[c.NUM_USERS] for row in own[segment]), default=0)
            tested = None
            if num_users >= min_users:
                tested = _decide_one(own[segment], domain, segment, models, measure=measure)
            decisions.append(tested or _as_domain(whole, segment, num_users, min_users))
    return decisions


def choose(means: Mapping[str, float], differences: Mapping[Pair, Difference]) -> tuple[str, str]:
    """The model to serve and why: the simplest within one standard error of the best (Breiman et al. 1984).

    means: by model. differences: of every model against every simpler one. Transferred is out where it is worse than
    target_only with certainty: the whole interval of their difference below zero.
    """
    models, remark = _without_harm(in_order(means), means, differences)
    best = max(models, key=lambda model: (means[model], -models.index(model)))
    beaten = ""
    for model in models[: models.index(best)]:
        gain = differences[best, model]
        if gain.mean <= gain.standard_error:
            text = f"{_named(model, means)} is the simplest within one standard error of {_named(best, means)} ({gain})"
            return model, text + remark
        beaten = f"; the next simpler is {_named(model, means)} ({gain})"
    why = f", by more than one standard error{beaten}" if beaten else " and nothing is simpler"
    return best, f"{_named(best, means)} is the best{why}{remark}"


def to_transfer_report(intervals: DataFrame, decisions: Sequence[Decision], spark: SparkSession) -> DataFrame:
    """The pairs of a learned model with a simpler one, with the decision they belong to: transfer_report, no run_id.

    A row of a reported segment has the decision for the users it is of, or for the domain where they are of several.
    """
    rows = [
        (decision.domain, segment.name, decision.model, decision.reason)
        for decision in decisions
        for segment in SEGMENTS
        if decision.segment == (segment.users[0] if len(segment.users) == 1 else c.ALL)
    ]
    chosen = spark.createDataFrame(rows, f"{c.DOMAIN} string, {c.SEGMENT} string, decision string, {c.REASON} string")
    is_learned_pair = F.col(c.BASELINE).isNotNull() & ~F.col(c.MODEL).isin(*BASELINES)
    pairs = intervals.where(is_learned_pair).join(F.broadcast(chosen), [c.DOMAIN, c.SEGMENT], how="inner")
    return pairs.select(*[name for name in TRANSFER_REPORT.column_names if name != c.RUN_ID])


def lone_decision(decision: Decision, *, guard_metric: str, guard_n: int) -> dict[str, str | int | float]:
    """A row of transfer_report for a segment without pairs: the chosen model against itself, to have it on record."""
    return {
        c.PURPOSE: c.VALIDATE, c.DOMAIN: decision.domain, c.SEGMENT: decision.segment, c.MODEL: decision.model,
        c.BASELINE: decision.model, c.METRIC: guard_metric, c.N: guard_n, "value": decision.value,
        "baseline_value": decision.value, c.DIFFERENCE: 0.0, c.CI_LOW: 0.0, c.CI_HIGH: 0.0,
        c.NUM_USERS: decision.num_users, "decision": decision.model, c.REASON: decision.reason,
    }  # fmt: skip


def _decide_one(
    rows: Sequence[Row], domain: str, segment: str, models: Sequence[str], *, measure: str
) -> Decision | None:
    """The decision by the rows of one part of a domain; by default where it has none; None without any model."""
    means = {row[c.MODEL]: row["value"] for row in rows if row[c.BASELINE] is None and row[c.MODEL] in models}
    if not means:
        return _untested(domain, segment, models) if models else None
    differences = {
        (row[c.MODEL], row[c.BASELINE]): Difference(
            row[c.DIFFERENCE], row[STANDARD_ERROR], row[c.CI_LOW], row[c.CI_HIGH]
        )
        for row in rows
        if row[c.BASELINE] is not None
    }
    num_users = max(row[c.NUM_USERS] for row in rows)
    model, reason = choose(means, differences)
    users = "validation users" if segment == c.ALL else f"{segment} validation users"
    return Decision(domain, segment, model, f"{measure} on {num_users} {users}: {reason}", means[model], num_users)


def _as_domain(whole: Decision, segment: str, num_users: int, min_users: int) -> Decision:
    reason = f"{num_users} {segment} validation users, fewer than {min_users}: as the whole domain ({whole.reason})"
    return replace(whole, segment=segment, reason=reason, num_users=num_users)


def _without_harm(
    models: list[str], means: Mapping[str, float], differences: Mapping[Pair, Difference]
) -> tuple[list[str], str]:
    """The models without a transfer that hurts, and a remark about it."""
    difference = differences.get((c.TRANSFERRED, c.TARGET_ONLY))
    if difference is None or not difference.is_loss:
        return models, ""
    transferred, control = _named(c.TRANSFERRED, means), _named(c.TARGET_ONLY, means)
    interval = f"interval {difference.ci_low:+.4f} to {difference.ci_high:+.4f}"
    return [model for model in models if model != c.TRANSFERRED], f"; {transferred} hurts against {control}: {interval}"


def _untested(domain: str, segment: str, models: Sequence[str]) -> Decision:
    model = next((name for name in UNTESTED_ORDER if name in models), sorted(models)[0])
    return Decision(domain, segment, model, f"no validation truth: {model} by default, untested")


def _named(model: str, means: Mapping[str, float]) -> str:
    return f"{model} {means[model]:.4f}"
