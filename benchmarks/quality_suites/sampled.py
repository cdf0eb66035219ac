"""A finished run in, users' measures among sampled candidates out: the protocol of papers that rank 1 + 999 items."""

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.lists.recommend import recommend
from crossrec_core.frames.lists.user_frame import wanted_by_truth, with_pairs
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.settings import Settings
from crossrec_core.tensors.scoring.sampled_ranks import LoadSampledRanks
from jobs.lists import model_names, read_models, read_targets, read_users, to_load
from jobs.steps import Night

RANKS = f"{c.USER_ID} string, {c.MODEL_INDEX} bigint, {c.DOMAIN_NUM} bigint, {c.ITEM_NUM} bigint, {c.RANK} bigint"
MISSED = np.iinfo(np.int64).max  # the rank of a held-out item that was no candidate


def sampled_user_metrics(
    settings: Settings, night: Night, spark: SparkSession, *,
    num_negatives: int, seed: int, measures: list[tuple[str, int]],
) -> pd.DataFrame:  # fmt: skip
    """Every model's measures of every user with a held-out item: model, domain, user_id, segment, metric, n, value.

    Held-out items that were never seen before cannot be scored: they count as misses. A user with several held-out
    items in a domain has the mean over them.
    """
    where = {c.PURPOSE: c.BACKTEST}
    targets = read_targets(settings, night)
    models = read_models(night, c.BACKTEST, domains=settings.targets)
    truth = read_table(spark, night.lake, t.TRUTH, run_id=night.run_id, where=where)
    users = read_users(wanted_by_truth(truth), settings, night, spark, purpose=c.BACKTEST, targets=targets)
    pairs = truth.where(F.col(c.SEGMENT) != c.NEW).select(c.USER_NUM, c.DOMAIN, c.ITEM_NUM, F.lit(1).alias(c.LABEL))
    get_ranks = LoadSampledRanks(
        to_load(models, settings, night, spark, purpose=c.BACKTEST), num_negatives=num_negatives, seed=seed
    )
    with_items = with_pairs(users, pairs, targets=targets)
    scored = recommend(with_items, get_ranks, batch_users=settings.score.batch_users, schema=RANKS).toPandas()
    domains = {target.num: target.name for target in targets}
    scored[c.MODEL] = scored[c.MODEL_INDEX].map(dict(enumerate(model_names(models))))
    scored[c.DOMAIN] = scored[c.DOMAIN_NUM].map(domains)
    held_out = truth.select(c.DOMAIN, c.USER_ID, c.ITEM_NUM, c.SEGMENT).toPandas()
    fitted = pd.DataFrame([(model.domain, model.name) for model in models], columns=[c.DOMAIN, c.MODEL])
    ranked = held_out.merge(fitted, on=c.DOMAIN).merge(
        scored[[c.MODEL, c.DOMAIN, c.USER_ID, c.ITEM_NUM, c.RANK]],
        on=[c.MODEL, c.DOMAIN, c.USER_ID, c.ITEM_NUM], how="left",
    )  # fmt: skip
    return to_user_metrics(ranked.assign(rank=ranked[c.RANK].fillna(MISSED)), measures)


def to_user_metrics(ranked: pd.DataFrame, measures: list[tuple[str, int]]) -> pd.DataFrame:
    """Ranks of held-out items (model, domain, user_id, segment, rank) to long rows of measures, a mean per user.

    Raises:
        ValueError: a measure other than hr, ndcg and mrr.
    """
    rank = ranked[c.RANK].to_numpy(dtype=np.float64)
    gains = {"hr": np.ones_like(rank), "ndcg": 1 / np.log2(rank + 1), "mrr": 1 / rank}
    parts = []
    for metric, n in measures:
        if metric not in gains:
            raise ValueError(f"{metric}@{n}: not defined for one held-out item among samples; expected hr, ndcg or mrr")
        value = np.where(rank <= n, gains[metric], 0.0)
        parts.append(ranked[[c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT]].assign(metric=metric, n=n, value=value))
    keys = [c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT, c.METRIC, c.N]
    return pd.concat(parts, ignore_index=True).groupby(keys)["value"].mean().reset_index()
