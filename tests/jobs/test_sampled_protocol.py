"""Ranks among sampled items on a finished night: with every unseen item sampled they are the ranks of the lists."""

import pandas as pd
import pytest

from benchmarks.quality_suites.sampled import sampled_user_metrics
from crossrec_core import tables as t
from crossrec_core.lake_reader import read_arrow

pytestmark = [pytest.mark.spark, pytest.mark.slow]
KEYS = ["model", "domain", "user_id"]


def test_a_sample_of_everything_gives_the_ranks_of_the_lists(finished_night, spark):
    night, settings = finished_night.night, finished_night.settings
    found = sampled_user_metrics(
        settings, night, spark, num_negatives=1000, seed=1, measures=[("mrr", settings.score.n)]
    )
    where = {"run_id": night.run_id, "purpose": "backtest"}
    lists = read_arrow(night.lake, t.RECOMMENDATIONS, where=where).to_pandas()
    truth = read_arrow(night.lake, t.TRUTH, where=where).to_pandas()
    truth = truth[truth["segment"] != "new"][["domain", "user_id", "item_id"]]
    models = lists[["model", "domain"]].drop_duplicates()
    expected = truth.merge(models, on="domain").merge(lists, on=[*KEYS, "item_id"], how="left")
    expected = (1 / expected.set_index(KEYS)["rank"]).fillna(0.0).sort_index()
    pd.testing.assert_series_equal(found.set_index(KEYS)["value"].sort_index(), expected, check_names=False)
    assert (expected > 0).any()
