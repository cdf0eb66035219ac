"""The name of a model in, the model of one domain fitted for one purpose out: what serve and the blend ask for."""

from typing import Any

from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core.settings import Settings
from jobs import finetune, fit_baselines, meta_train
from jobs.networks import NEURAL
from jobs.steps import Night


def fit_one(
    settings: Settings, night: Night, spark: SparkSession, *, purpose: str, model: str, domain: str
) -> dict[str, Any]:
    """Fit any model but the blend, as validate found it; returns its row of the models table."""
    if model == c.ADAPTED:
        return meta_train.fit_for_purpose(settings, night, spark, purpose=purpose, domain=domain)
    if model in NEURAL:
        return finetune.fit_for_purpose(settings, night, spark, purpose=purpose, domain=domain, model=model)
    return fit_baselines.fit_for_purpose(settings, night, spark, purpose=purpose, model=model, domain=domain)
