"""Measures of one held-out item among sampled ones."""

from math import log2

import pandas as pd
import pytest

from benchmarks.quality_suites.sampled import MISSED, to_user_metrics


def make_ranks(*rows: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [("m", "a", user, "warm", rank) for user, rank in rows],
        columns=["model", "domain", "user_id", "segment", "rank"],
    )


def test_a_rank_gives_every_measure_up_to_its_list_length():
    measures = [("hr", 5), ("hr", 10), ("ndcg", 10), ("mrr", 1000)]
    found = to_user_metrics(make_ranks(("first", 1), ("seventh", 7), ("missed", MISSED)), measures)
    value = {(row.user_id, row.metric, row.n): row.value for row in found.itertuples()}
    assert [value["first", *measure] for measure in measures] == [1.0] * 4
    assert [value["seventh", *measure] for measure in measures] == pytest.approx([0.0, 1.0, 1 / log2(8), 1 / 7])
    assert [value["missed", *measure] for measure in measures] == [0.0] * 4


def test_a_user_with_two_held_out_items_has_their_mean():
    found = to_user_metrics(make_ranks(("two", 1), ("two", 20)), [("hr", 10)])
    assert found["value"].tolist() == [0.5]


def test_a_measure_without_a_definition_here_is_refused():
    with pytest.raises(ValueError, match="recall@10"):
        to_user_metrics(make_ranks(("u", 1)), [("recall", 10)])
