"""Outside models' lists beside evaluate's own: the same measures of the same users."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers.exchange import measure_lists, write_problem
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake
from jobs.steps import Night

pytestmark = pytest.mark.spark


@pytest.fixture
def night(tmp_path):
    return Night("r1", date(2024, 7, 1), Lake(str(tmp_path / "lake")))


def truth_row(domain, user, item, *, segment="warm", purpose=c.BACKTEST):
    return {
        c.RUN_ID: "r1", c.PURPOSE: purpose, c.DOMAIN: domain, c.USER_ID: f"u{user}", c.USER_NUM: user,
        c.ITEM_ID: f"i{item}", c.ITEM_NUM: item, c.SEGMENT: segment, c.IS_KNOWN_ITEM: item < 90, c.IS_HEAD: False,
    }  # fmt: skip


def test_lists_are_measured_by_domain_model_and_user(spark, night):
    write_rows(night.lake, t.TRUTH, [
        truth_row("a", 1, 10), truth_row("a", 1, 99), truth_row("a", 2, 10), truth_row("b", 1, 20),
        truth_row("a", 3, 10, segment="new"), truth_row("a", 1, 11, purpose=c.VALIDATE),
    ], append=True)  # fmt: skip
    listed = pd.DataFrame(
        [("als", "a", 1, 10, 1), ("als", "a", 1, 11, 2), ("als", "a", 2, 11, 1), ("als", "a", 2, 10, 2),
         ("als", "b", 1, 10, 1), ("knn", "a", 2, 10, 1)],
        columns=[c.MODEL, c.DOMAIN, c.USER_NUM, c.ITEM_NUM, c.RANK],
    )  # fmt: skip
    found = measure_lists(listed, night, spark, lists=[1, 2])
    values = {
        (row.model, row.domain, row.user_id, row.n): row.value
        for row in found[(found[c.SEGMENT] == "warm") & (found[c.METRIC] == "recall")].itertuples()
    }

    assert values == {
        ("als", "a", "u1", 1): 0.5, ("als", "a", "u1", 2): 0.5, ("als", "a", "u2", 1): 0, ("als", "a", "u2", 2): 1,
        ("als", "b", "u1", 1): 0, ("als", "b", "u1", 2): 0, ("knn", "a", "u1", 1): 0, ("knn", "a", "u1", 2): 0,
        ("knn", "a", "u2", 1): 1, ("knn", "a", "u2", 2): 1,
    }  # fmt: skip


def test_a_domain_is_exported_without_users_nobody_has_seen(night, tmp_path):
    event = {c.RUN_ID: "r1", c.DOMAIN: "a", c.ACTION_NUM: 1, c.VALUE: None, c.EVENT_TIME: None, c.TIE_BREAK: 0}
    write_rows(night.lake, t.SPLIT_INTERACTIONS, [
        {**event, c.USER_NUM: user, c.ITEM_NUM: item, c.WEIGHT: 1.0, c.EVENT_ORDER: item, c.SPLIT: split}
        for user, item, split in ((1, 10, "train"), (1, 20, "valid"), (2, 20, "train"))
    ], append=True)  # fmt: skip
    write_rows(night.lake, t.TRUTH, [
        truth_row("a", 1, 20, purpose=c.VALIDATE), truth_row("a", 2, 10), truth_row("a", 3, 10, segment="new"),
    ], append=True)  # fmt: skip
    (tmp_path / "some.toml").write_text('[domains.a]\npath = "a.csv"\n')
    write_problem(read_config(tmp_path / "some.toml"), night, "a", tmp_path / "out" / "a.npz")

    with np.load(tmp_path / "out" / "a.npz") as arrays:
        assert arrays["user_nums"].tolist() == [1, 2]
        assert arrays["backtest_judged"].tolist() == [1]
        assert bool(arrays["exclude_seen"])
