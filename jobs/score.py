"""Fitted models and users with held-out items in, their lists and click probabilities out: what evaluate measures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.lists.recommend import SCORED_PAIRS, recommend, to_pair_probabilities
from crossrec_core.frames.lists.user_frame import Target, wanted_by_truth, with_pairs
from crossrec_core.frames.spark.storage import read_table, write_table
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import has_file
from crossrec_core.tensors.scoring.scorer import LoadPairScorer
from jobs.lists import FittedModel, model_names, read_models, read_targets, read_users, to_load, write_lists
from jobs.steps import Night, step_command

RANKER_FILE = "ranker.json"


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Score every model on the users of the validation and test windows; each purpose sees what it may know only."""
    targets = read_targets(settings, night)
    counts: dict[str, int] = {}
    for purpose in (name for name in c.TRUTH_SPLIT if name in settings.train.purposes):
        models = read_models(night, purpose, domains=settings.targets)
        if not models:
            continue
        truth = read_table(spark, night.lake, t.TRUTH, run_id=night.run_id, where={c.PURPOSE: purpose})
        users = read_users(wanted_by_truth(truth), settings, night, spark, purpose=purpose, targets=targets)
        counts[f"{t.RECOMMENDATIONS.name}:{purpose}"] = write_lists(
            users, models, settings, night, spark, purpose=purpose, targets=targets
        )
        counts[f"{t.PAIR_PROBABILITIES.name}:{purpose}"] = write_pairs(
            read_models(night, purpose, domains=settings.targets, with_controls=True), settings, night, spark,
            purpose=purpose, targets=targets,
        )  # fmt: skip
    return counts


def write_pairs(
    models: list[FittedModel], settings: Settings, night: Night, spark: SparkSession, *,
    purpose: str, targets: list[Target],
) -> int:  # fmt: skip
    """Write the probabilities of the labelled pairs by every model that has a ranker; returns the rows."""
    models = [model for model in models if has_file(night.lake.at(model.location), RANKER_FILE)]
    if not models:
        return 0
    pairs = read_table(spark, night.lake, t.LABELLED_PAIRS, run_id=night.run_id, where={c.PURPOSE: purpose})
    users = read_users(pairs, settings, night, spark, purpose=purpose, targets=targets)
    get_scorer = LoadPairScorer(to_load(models, settings, night, spark, purpose=purpose))
    scored = recommend(
        with_pairs(users, pairs, targets=targets), get_scorer,
        batch_users=settings.score.batch_users, schema=SCORED_PAIRS,
    )  # fmt: skip
    named = to_pair_probabilities(
        scored,
        read_table(spark, night.lake, t.ITEM_IDS),
        models=model_names(models),
        domains={target.num: target.name for target in targets},
        run_id=night.run_id,
        purpose=purpose,
    )
    return write_table(named, night.lake, t.PAIR_PROBABILITIES, run_id=night.run_id, replace={c.PURPOSE: purpose})


main = step_command("score", run)

if __name__ == "__main__":
    typer.run(main)
