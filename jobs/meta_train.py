"""A pretrained model in, a head that a few events adapt to a user out, and the report of where it helps.

    validate: train on the sources' known events, stop and calibrate on half of the validation users, judge by the rest
    backtest: refit on train + validation for the epochs found; calibration and gate are those of validate
    -> checkpoints/RUN/PURPOSE/meta/all, meta_report, training_log; the model "adapted" of each domain where it is on

Beside the head a pooled one is trained, the same for all users. The report holds the head against it, against it after
gradient steps on each user's events, and against the in-context model, which reads the events and adapts nothing.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import typer
from pyspark.sql import SparkSession
from torch import nn

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.meta_learning.learning_curves import (
    CurvePoint,
    calibrate,
    gate,
    learning_curves,
    split_users,
    whole_ndcg,
)
from crossrec_core.tensors.meta_learning.meta import FittedHead
from crossrec_core.tensors.meta_learning.meta_artifacts import AboutHead, load_head, save_head
from crossrec_core.tensors.meta_learning.meta_heads import POOLED
from crossrec_core.tensors.meta_learning.meta_validation import Platt
from jobs.adapted import adapted_rows, save_adapted
from jobs.fitted import log_rows, write_log
from jobs.ground import Ground, find_purposes, read_ground
from jobs.heads import (
    IN_CONTEXT,
    head_config,
    judged_domains,
    new_head,
    on_device,
    read_model,
    to_answers,
    to_asking,
    to_pairs,
    train,
)
from jobs.pretrain import ensure_pretrained
from jobs.refits import purposes_to_fit, refits
from jobs.steps import Night, step_command


@dataclass(frozen=True)
class Validated:
    """A head that was judged: what it is, its NDCG@10 by domain, and the rows written."""

    about: AboutHead
    ndcg: Mapping[str, float | None]
    num_reported: int
    num_logged: int


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Meta-train a head on the source domains, judge it on each target, and make a model of it where it is on."""
    counts = {"heads": 0, t.MODELS.name: 0, t.META_REPORT.name: 0, t.TRAINING_LOG.name: 0}
    if settings.meta.method == "none":
        return counts
    for purpose in purposes_to_fit(settings, night):
        started = time.monotonic()
        ground = read_ground(settings, night, spark, purpose)
        found = validated_head(ground)
        if found is None:
            validated = fit_and_judge(settings, ground)
        else:
            validated = Validated(found[1], {}, 0, refit(settings, ground, *found))
        rows = adapted_rows(
            ground, validated.about.is_on, validated.ndcg, asking=to_asking(settings),
            seconds=time.monotonic() - started,
        )  # fmt: skip
        replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: c.ADAPTED}
        counts[t.MODELS.name] += write_rows(night.lake, t.MODELS, rows, replace=replaced)
        counts[t.META_REPORT.name] += validated.num_reported
        counts[t.TRAINING_LOG.name] += validated.num_logged
        counts["heads"] += 1
    return counts


def fit_for_purpose(
    settings: Settings, night: Night, spark: SparkSession, *, purpose: str, domain: str
) -> dict[str, Any]:
    """Fit a purpose's head, and the model beneath it, unless they are there; returns the domain's ``models`` row."""
    started = time.monotonic()
    ground = read_ground(settings, night, spark, purpose)
    ensure_pretrained(settings, ground)
    location = model_location(night.run_id, purpose, c.META, c.ALL_DOMAINS)
    if not has_file(night.lake.at(location), "meta.json"):
        found = validated_head(ground)
        assert found is not None, "a model that was not validated is never chosen"
        refit(settings, ground, *found)
    seconds = time.monotonic() - started
    return save_adapted(ground, domain, asking=to_asking(settings), valid_ndcg=None, seconds=seconds)


def validated_head(ground: Ground) -> tuple[nn.Module, AboutHead] | None:
    """The head that validate found; None at validate itself, or where nothing was validated."""
    night = ground.night
    if ground.purpose == c.VALIDATE or c.VALIDATE not in find_purposes(night.lake, night.run_id):
        return None
    location = model_location(night.run_id, c.VALIDATE, c.META, c.ALL_DOMAINS)
    return load_head(night.lake.at(location), id_fingerprint=ground.candidates.id_fingerprint)


def fit_and_judge(settings: Settings, ground: Ground) -> Validated:
    """Fit the head and its pooled control; write artifact, report and log."""
    method, model, candidates = settings.meta.method, read_model(ground), on_device(ground)
    heads = {name: new_head(settings, ground, name) for name in (method, POOLED)}
    split = {domain: split_users(held_out) for domain, held_out in judged_domains(settings, ground).items()}
    tuning = {domain: users for domain, (users, _) in split.items() if len(users.truth_RT)}
    fitted = train(settings, ground, model, heads, tuning, dict.fromkeys(heads, settings.meta.max_epochs))
    answers = to_answers(heads, method, settings.meta.inner_steps)
    asking, platt, is_on, ndcg, rows = to_asking(settings), {}, {}, {}, []
    for domain, (tuning_users, judging_users) in split.items():
        of_domain = calibrate(model, answers, tuning_users, candidates, asking)
        points = learning_curves(
            model, answers, judging_users, candidates, asking, platt=of_domain, pairs=to_pairs(method),
            support_sizes=settings.meta.support_sizes, samples=settings.evaluate.bootstrap_samples,
        )  # fmt: skip
        is_on[domain], reason = gate(points, model=method, baseline=IN_CONTEXT)
        platt[domain] = of_domain[method]
        ndcg[domain] = whole_ndcg(points, method)
        rows += report_rows(ground, domain, points, is_on=is_on[domain], reason=reason)
    about = save(settings, ground, heads[method], fitted[method], platt, is_on)
    num_reported = write_rows(ground.night.lake, t.META_REPORT, rows, replace={c.RUN_ID: ground.night.run_id})
    return Validated(about, ndcg, num_reported, write_epochs(ground, fitted))


def refit(settings: Settings, ground: Ground, validated: nn.Module, about: AboutHead) -> int:
    """Fit the head for a later purpose as long as validate found best, or copy it; returns the rows of the log."""
    if not refits(settings, ground.purpose):
        location = model_location(ground.night.run_id, ground.purpose, c.META, c.ALL_DOMAINS)
        save_head(ground.night.lake.at(location), validated, about)
        return 0
    name = about.config.method
    heads = {name: new_head(settings, ground, name)}
    fitted = train(settings, ground, read_model(ground), heads, {}, {name: about.epochs})
    best = replace(fitted[name], best_value=about.valid_ndcg)
    save(settings, ground, heads[name], best, about.platt, about.is_on)
    return write_epochs(ground, fitted)


def save(
    settings: Settings, ground: Ground, head: nn.Module, fitted: FittedHead, platt: Mapping[str, Platt],
    is_on: Mapping[str, bool],
) -> AboutHead:  # fmt: skip
    """Write the head's folder; returns what it says of the head."""
    about = AboutHead(
        config=head_config(settings, ground, settings.meta.method),
        id_fingerprint=ground.candidates.id_fingerprint, epochs=fitted.best_epoch, valid_ndcg=fitted.best_value,
        platt=platt, is_on=is_on,
        settings=asdict(settings.meta),
    )  # fmt: skip
    location = model_location(ground.night.run_id, ground.purpose, c.META, c.ALL_DOMAINS)
    save_head(ground.night.lake.at(location), head, about)
    return about


def report_rows(
    ground: Ground, domain: str, points: Sequence[CurvePoint], *, is_on: bool, reason: str
) -> list[dict[str, Any]]:
    """Rows of meta_report."""
    return [
        {
            c.RUN_ID: ground.night.run_id, c.DOMAIN: domain, c.MODEL: point.model, c.BASELINE: point.baseline,
            "support": point.support, c.METRIC: point.metric, c.N: point.n, "value": point.value,
            "baseline_value": point.baseline_value, c.DIFFERENCE: point.interval.difference,
            c.CI_LOW: point.interval.low, c.CI_HIGH: point.interval.high, c.NUM_USERS: point.num_users,
            "decision": "on" if is_on else "off", c.REASON: reason,
        }
        for point in points
    ]  # fmt: skip


def write_epochs(ground: Ground, fitted: Mapping[str, FittedHead]) -> int:
    """The heads' epochs as rows of training_log."""
    rows = [
        row
        for name, head in fitted.items()
        for row in log_rows(ground, model=f"{c.META}.{name}", stage="meta_train", reports=head.epochs)
    ]
    return write_log(ground, rows)


main = step_command("meta_train", run)

if __name__ == "__main__":
    typer.run(main)
