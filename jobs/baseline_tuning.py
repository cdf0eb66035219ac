"""Baselines and held-out users in, the options that validate best per domain out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from crossrec_core import columns as c
from crossrec_core.tensors.training.validation import HeldOut
from jobs.baseline_fits import SCORES_ITEMS, read_rows, read_scores, save_tensors, write_fit, write_scores
from jobs.baseline_settings import ALS, DIRECT, PAIRED, Options, at_fit
from jobs.baseline_trials import judge, read_trial_sums, try_all, weigh
from jobs.direct_fits import fit_tensors
from jobs.known import Known

METRIC = "ndcg@10"

Chosen = Sequence[Mapping[str, Options]]  # by trial, then by domain


@dataclass(frozen=True)
class Tuned:
    """The best options of a model by domain, what they reached, and every trial as a row of ``trials``."""

    options: Mapping[str, Options]
    ndcg: Mapping[str, float]
    trials: list[dict[str, Any]]
    is_written: bool = False  # whether the rows of the last trial are those of the best options
    seconds: Mapping[str, float] = field(default_factory=dict)  # of fits whose artifact is there already, by domain


def tune(
    known: Known, model: str, tried: list[dict[str, Any]], held_out: Mapping[str, HeldOut],
    given: Mapping[str, Options], sums: Mapping[float, DataFrame],
) -> Tuned:  # fmt: skip
    """Try every set of options on the validation users; the first of the best wins.

    ``given`` are options of a domain that are settled before. A target without validation users takes the first set.
    ``sums`` are the pair sums of ``pair_sums_of``. Models that go straight into their artifact have it written.
    """
    judged = {domain: held_out[domain] for domain in known.targets if domain in held_out}
    chosen = [{domain: {**options, **given.get(domain, {})} for domain in known.targets} for options in tried]
    if model in DIRECT:
        return _tune_direct(known, model, chosen, judged)
    if model in PAIRED:
        return _tune_paired(known, model, chosen, judged, sums)
    return _tune_written(known, model, chosen, judged)


def _tune_direct(known: Known, model: str, chosen: Chosen, judged: Mapping[str, HeldOut]) -> Tuned:
    """Models without rows: the fit of the best trial is the one that is kept."""
    options, values, seconds = {}, {}, {}
    for domain in known.targets:
        best = try_all(
            known, model, [trial[domain] for trial in chosen], judged.get(domain),
            lambda own, domain=domain: fit_tensors(known, model, domain, own),  # type: ignore[misc]
        )  # fmt: skip
        save_tensors(known, model, domain, best.options, best.tensors)
        options[domain], seconds[domain] = best.options, best.seconds
        if domain in judged:
            values[domain] = list(best.values)
    return _to_tuned(known, model, chosen, options, values, seconds=seconds)


def _tune_paired(
    known: Known, model: str, chosen: Chosen, judged: Mapping[str, HeldOut], sums: Mapping[float, DataFrame]
) -> Tuned:
    """Item-item models: their trials weigh the pairs of the validation users' items, read once."""
    if judged and model in SCORES_ITEMS:
        write_scores(known, model, chosen[0])
    options, values = dict(chosen[0]), {}
    for domain, users in judged.items():
        own = [trial[domain] for trial in chosen]
        pairs = read_trial_sums(known, sums, domain, own[0]["max_neighbours"])
        scores = read_scores(known, model, domain)
        candidates_V = known.candidates.items[users.domain_num]
        best = try_all(
            known, model, own, users,
            lambda trial: {**weigh(model, pairs, trial, candidates_V), **scores},  # noqa: B023  (used in this round)
        )  # fmt: skip
        options[domain], values[domain] = best.options, list(best.values)
    return _to_tuned(known, model, chosen, options, values)


def _tune_written(known: Known, model: str, chosen: Chosen, judged: Mapping[str, HeldOut]) -> Tuned:
    """Models that are one fit for all domains: each trial writes its rows, the fit that follows overwrites them.

    ALS has the same options for every domain: those with the best mean.
    """
    values: dict[str, list[float]] = {domain: [] for domain in judged}
    for trial in chosen if judged else ():
        write_fit(known, model, trial, {})
        for domain, users in judged.items():
            values[domain].append(judge(known, model, trial[domain], read_rows(known, model, domain), users))
    best = {domain: _argmax(own) for domain, own in values.items()}
    if model == ALS and values:
        means = [sum(own[trial] for own in values.values()) / len(values) for trial in range(len(chosen))]
        best = dict.fromkeys(known.targets, _argmax(means))
    options = {domain: chosen[best.get(domain, 0)][domain] for domain in known.targets}
    is_written = bool(values) and _fits(options) == _fits(chosen[-1])
    return _to_tuned(known, model, chosen, options, values, is_written=is_written)


def _fits(options: Mapping[str, Options]) -> list[dict[str, Any]]:
    """What the fits of all domains depend on."""
    return [at_fit(own) for own in options.values()]


def _argmax(values: list[float]) -> int:
    return max(range(len(values)), key=lambda trial: (values[trial], -trial))


def _to_tuned(
    known: Known, model: str, chosen: Chosen, options: Mapping[str, Options], values: Mapping[str, list[float]], *,
    is_written: bool = False, seconds: Mapping[str, float] | None = None,
) -> Tuned:  # fmt: skip
    trials = [
        {
            c.RUN_ID: known.store.night.run_id, "study": f"{model}.{domain}", "trial": trial,
            "settings": json.dumps(chosen[trial][domain], sort_keys=True), c.METRIC: METRIC, "value": value,
        }
        for domain, own in values.items()
        for trial, value in enumerate(own)
    ]  # fmt: skip
    reached = {
        domain: own[[trial[domain] for trial in chosen].index(options[domain])] for domain, own in values.items()
    }
    return Tuned(options, reached, trials, is_written, seconds or {})
