"""Baselines and held-out users in, the options that validate best per domain out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.tensors.block_scores import candidates_of
from crossrec_core.tensors.folders import open_folder
from crossrec_core.tensors.list_validation import mean_list_ndcg
from crossrec_core.tensors.scorer import LOADERS
from crossrec_core.tensors.validation import HeldOut
from jobs.baseline_fits import Known, save, write_fit, write_pairs
from jobs.baseline_settings import ALS, KINDS, Options, at_fit

METRIC = "ndcg@10"


@dataclass(frozen=True)
class Tuned:
    """The best options of a model by domain, what they reached, and every trial as a row of ``trials``."""

    options: Mapping[str, Options]
    ndcg: Mapping[str, float]
    trials: list[dict[str, Any]]
    is_written: bool = False  # whether the rows of the last trial are those of the best options


def tune(
    known: Known, model: str, tried: list[dict[str, Any]], held_out: Mapping[str, HeldOut],
    given: Mapping[str, Options], sums: Mapping[float, DataFrame],
) -> Tuned:  # fmt: skip
    """Try every set of options on the validation users; the first of the best wins.

    ``given`` are options of a domain that are settled before. A target without validation users takes the first set.
    ALS is one model for all domains: its options are those with the best mean. Rows and artifacts of the trials are
    overwritten by the fit that follows. ``sums`` are the pair sums of ``pair_sums_of``.
    """
    judged = {domain: held_out[domain] for domain in known.targets if domain in held_out}
    chosen = [{domain: {**options, **given.get(domain, {})} for domain in known.targets} for options in tried]
    values = _try_all(known, model, chosen, judged, sums) if judged else {}
    best = {domain: _argmax(own) for domain, own in values.items()}
    if model == ALS and values:
        means = [sum(own[trial] for own in values.values()) / len(values) for trial in range(len(tried))]
        best = dict.fromkeys(known.targets, _argmax(means))
    options = {domain: chosen[best.get(domain, 0)][domain] for domain in known.targets}
    return Tuned(
        options=options,
        ndcg={domain: own[best[domain]] for domain, own in values.items()},
        trials=_to_rows(known, model, chosen, values),
        # Trials with pairs hold a part of the rows only
        is_written=bool(values) and not sums and _fits(options) == _fits(chosen[-1]),
    )


def _try_all(
    known: Known, model: str, chosen: list[dict[str, dict[str, Any]]], judged: Mapping[str, HeldOut],
    sums: Mapping[float, DataFrame],
) -> dict[str, list[float]]:  # fmt: skip
    """Per domain the NDCG of each trial. Trials that differ at scoring only share one fit."""
    values: dict[str, list[float]] = {domain: [] for domain in judged}
    written: list[dict[str, Any]] | None = None
    few = {decay: _keep_held_out_items(known, frame) for decay, frame in sums.items()}
    for trial in chosen:
        if _fits(trial) != written:
            write = write_fit if written is None or not few else write_pairs
            write(known, model, trial, few)
            folders = {domain: save(known, model, domain, trial[domain]) for domain in judged}
            written = _fits(trial)
        for domain, users in judged.items():
            values[domain].append(_judge(known, model, folders[domain], trial[domain], users))
    return values


def _fits(options: Mapping[str, Options]) -> list[dict[str, Any]]:
    """What the fits of all domains depend on."""
    return [at_fit(own) for own in options.values()]


def _keep_held_out_items(known: Known, sums: DataFrame) -> DataFrame:
    """Keep the pairs from items that validation users have: the others cannot change a trial."""
    sequences = known.store.read(t.VALIDATION_SEQUENCES)
    items = sequences.select(F.explode(c.ITEM_NUMS).alias(c.ITEM_NUM)).distinct()
    return sums.join(F.broadcast(items), on=c.ITEM_NUM, how="left_semi")


def _judge(known: Known, model: str, folder: str, options: Options, users: HeldOut) -> float:
    candidates = candidates_of(known.candidates, users.domain_num)
    with open_folder(folder) as local:
        return mean_list_ndcg(LOADERS[KINDS[model]](local, dict(options), candidates), users, candidates)


def _argmax(values: list[float]) -> int:
    return max(range(len(values)), key=lambda trial: (values[trial], -trial))


def _to_rows(
    known: Known, model: str, chosen: list[dict[str, dict[str, Any]]], values: Mapping[str, list[float]]
) -> list[dict[str, Any]]:
    return [
        {
            c.RUN_ID: known.store.night.run_id, "study": f"{model}.{domain}", "trial": trial,
            "settings": json.dumps(chosen[trial][domain], sort_keys=True), c.METRIC: METRIC, "value": value,
        }
        for domain, own in values.items()
        for trial, value in enumerate(own)
    ]  # fmt: skip
