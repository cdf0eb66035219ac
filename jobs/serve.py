"""The guard's winners refitted on everything; lists for every known user in every target domain out.

Each user's list comes from the model of the user's segment in the domain. Besides, each domain gets a list for users
nobody has seen, under the reserved user id.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import LakeError
from crossrec_core.frames.evaluation.transfer import UNTESTED_ORDER
from crossrec_core.frames.lists.user_frame import Target, wanted_by_everyone
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from jobs import blend
from jobs.adapted import is_adapted
from jobs.lists import FittedModel, read_targets, read_users, to_model, write_lists
from jobs.networks import neural_models
from jobs.one_model import fit_one
from jobs.steps import Night, step_command


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Fit what is served for the purpose serve, and make everyone's lists."""
    chosen = choose_models(settings, night)
    rows = [
        fit(settings, night, spark, model=model, domain=domain)
        for domain, segments_of in chosen.items()
        for model in segments_of
    ]
    num_models = write_rows(night.lake, t.MODELS, rows, replace={c.RUN_ID: night.run_id, c.PURPOSE: c.SERVE})
    models = [to_model(row, chosen[row[c.DOMAIN]][row[c.MODEL]]) for row in rows]
    num_lists = make_lists(settings, night, spark, models)
    return {t.MODELS.name: num_models, t.RECOMMENDATIONS.name: num_lists}


def make_lists(
    settings: Settings, night: Night, spark: SparkSession, models: Sequence[FittedModel], *, candidates_run: str = ""
) -> int:
    """Write everyone's lists by models fitted for serve; returns the rows.

    ``candidates_run`` is the run whose candidates the models know, where it is not this one.
    """
    targets = read_targets(settings, night)
    wanted = read_wanted(night, spark, targets)
    users = read_users(wanted, settings, night, spark, purpose=c.SERVE, targets=targets)
    return write_lists(
        users, models, settings, night, spark, purpose=c.SERVE, targets=targets, candidates_run=candidates_run
    )


def choose_models(settings: Settings, night: Night) -> dict[str, dict[str, tuple[str, ...]]]:
    """The models to serve in each target domain, and the segments of users each makes lists for.

    They are the guard's winners, or with ``score.serve_models = "all"`` every model, for everyone. Without a decision
    (nothing was held out) it is the first of ``UNTESTED_ORDER`` that the settings can fit.

    Raises:
        LakeError: the settings can fit no model at all.
    """
    available = fittable_models(settings)
    if not available:
        raise LakeError(
            "baselines.models and train.finetune.max_epochs: no model to serve; list popularity in baselines.models"
        )
    if settings.score.serve_models == "all":
        return {
            domain: dict.fromkeys(_with_validated(available, night, domain), c.USER_SEGMENTS)
            for domain in settings.targets
        }
    report = read_rows(night.lake, t.TRANSFER_REPORT, where={c.RUN_ID: night.run_id})
    decided = {(row[c.DOMAIN], row[c.SEGMENT]): row["decision"] for row in report}
    untested = next((model for model in UNTESTED_ORDER if model in available), available[0])
    return {domain: _by_model(decided, domain, untested) for domain in settings.targets}


def _with_validated(models: Sequence[str], night: Night, domain: str) -> list[str]:
    """The head's model and the blend too, where validate has made them."""
    adapted = [c.ADAPTED] if is_adapted(night, domain) else []
    blended = [c.CROSSREC] if blend.read_blended(night, c.CROSSREC, domain) else []
    return [*models, *adapted, *blended]


def fittable_models(settings: Settings) -> list[str]:
    """The models that the settings switch on, by name."""
    return sorted([*settings.baselines.models, *neural_models(settings)])


def fit(settings: Settings, night: Night, spark: SparkSession, *, model: str, domain: str) -> dict[str, Any]:
    """Fit a model for serve with the settings found before; returns its row of the models table.

    ``train.refit_for_serve = false`` spares the neural models the training: their validated weights get the vectors of
    today's candidates. Baselines are always fitted: theirs takes seconds.
    """
    if model == c.CROSSREC:
        return blend.fit_for_purpose(settings, night, spark, purpose=c.SERVE, domain=domain)
    return fit_one(settings, night, spark, purpose=c.SERVE, model=model, domain=domain)


def read_wanted(night: Night, spark: SparkSession, targets: Sequence[Target]) -> DataFrame:
    """Every user this run knows, with every target domain of the user's own space."""
    where = {c.PURPOSE: c.SERVE}
    return wanted_by_everyone(
        read_table(spark, night.lake, t.SEQUENCES, run_id=night.run_id, where=where),
        read_table(spark, night.lake, t.HISTORIES, run_id=night.run_id, where=where),
        read_table(spark, night.lake, t.USER_IDS),
        targets=targets,
    )


def _by_model(decided: Mapping[tuple[str, str], str], domain: str, untested: str) -> dict[str, tuple[str, ...]]:
    """The segments of users that each model serves; a segment without a decision has its domain's."""
    whole = decided.get((domain, c.ALL), untested)
    winners = {segment: decided.get((domain, segment), whole) for segment in c.USER_SEGMENTS}
    return {
        model: tuple(segment for segment in c.USER_SEGMENTS if winners[segment] == model)
        for model in sorted(set(winners.values()))
    }


main = step_command("serve", run)

if __name__ == "__main__":
    typer.run(main)
