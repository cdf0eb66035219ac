import pytest

from crossrec_core.frames.logs.k_core import mark_core
from tests.frames.made_events import make_events, rows_of

pytestmark = pytest.mark.spark

EVENTS = [
    (1, "a", 1, 1, "train"), (1, "a", 2, 2, "train"), (2, "a", 1, 1, "train"), (2, "a", 2, 2, "train"),
    (3, "a", 2, 1, "train"), (3, "a", 3, 2, "train"),  # item 3 is thin, and without it user 3 is
    (3, "a", 9, 5, "test"), (8, "a", 8, 4, "valid"),
]  # fmt: skip


def core(spark, **rules):
    limits = {"min_user_events": 2, "min_item_events": 2, "max_rounds": 10, **rules}
    return rows_of(mark_core(make_events(spark, EVENTS), **limits), "user_num", "item_num", "split")


def test_thin_users_and_items_leave_training_until_none_is_left(spark):
    assert [row for row in core(spark) if row[2] == "train"] == [
        (1, 1, "train"), (1, 2, "train"), (2, 1, "train"), (2, 2, "train"),
    ]  # fmt: skip


def test_what_leaves_training_is_marked_and_all_else_stays(spark):
    rows = core(spark, min_user_events=99)
    assert [row for row in rows if row[2] != "out_of_core"] == [(3, 9, "test"), (8, 8, "valid")]
    assert len(rows) == len(EVENTS)


def test_rounds_are_limited(spark):
    assert (3, 2, "train") in core(spark, max_rounds=1)


def test_held_out_rows_do_not_keep_a_user_in_training(spark):
    assert not [row for row in core(spark, min_user_events=3) if row[2] == "train"]
