import pytest

from crossrec_core.frames.prepared.popularity import to_popularity
from crossrec_core.frames.prepared.sequences import to_histories
from crossrec_core.frames.prepared.splits import to_known_events
from crossrec_core.frames.prepared.truth import keep_sampled_users, to_truth, with_outside_ids
from tests.frames.made_events import HALF_LIVES, make_events, rows_of

pytestmark = pytest.mark.spark

EVENTS = [
    (1, "a", 10, 1, "train"), (1, "a", 11, 5, "test"), (1, "a", 10, 6, "test"),  # warm; item 10 is not new
    (2, "b", 20, 1, "train"), (2, "a", 10, 5, "test"), (2, "a", 10, 7, "test"),  # cold in a
    (3, "a", 12, 5, "test"),                                                     # new
    (4, "a", 10, 3, "valid"), (4, "a", 11, 5, "test"),                           # warm for backtest, new for validate
]  # fmt: skip


def truth_of(spark, *, targets=("a",), new_items_only=("a",)):
    events = make_events(spark, EVENTS)
    known = to_known_events(events, ["validate", "backtest"])
    popularity = to_popularity(known, head_share=0.5, **HALF_LIVES)
    return to_truth(events, to_histories(known), popularity, targets=targets, new_items_only=new_items_only)


def test_truth_and_its_segments_by_table(spark):
    columns = ("purpose", "user_num", "item_num", "segment", "is_known_item", "is_head")
    assert rows_of(truth_of(spark), *columns) == [
        ("backtest", 1, 11, "warm", False, False),
        ("backtest", 2, 10, "cold_in_domain", True, True),
        ("backtest", 3, 12, "new", False, False),
        ("backtest", 4, 11, "warm", False, False),
        ("validate", 4, 10, "new", True, True),
    ]


def test_items_the_user_had_stay_where_repeats_are_allowed(spark):
    found = rows_of(truth_of(spark, new_items_only=()).where("purpose = 'backtest'"), "user_num", "item_num")
    assert (1, 10) in found


def test_only_targets_have_truth(spark):
    assert truth_of(spark, targets=["b"]).count() == 0


def test_outside_ids_are_added_and_no_row_is_lost(spark):
    truth = truth_of(spark)
    users = spark.createDataFrame([(n, f"u{n}") for n in range(1, 5)], "user_num bigint, user_id string")
    items = spark.createDataFrame([(n, f"i{n}") for n in range(10, 21)], "item_num bigint, item_id string")
    named = with_outside_ids(truth, users, items)
    assert rows_of(named, "user_id", "item_id") == sorted(
        (f"u{user}", f"i{item}") for user, item in rows_of(truth, "user_num", "item_num")
    )


def test_sampled_users_keep_all_their_rows_and_the_first_of_a_group_stay_when_more_are_kept(spark):
    rows = [(purpose, "a", user, item) for purpose in ("validate", "backtest") for user in range(9) for item in (1, 2)]
    truth = spark.createDataFrame(rows, "purpose string, domain string, user_num bigint, item_num bigint")
    few, more = (keep_sampled_users(truth, max_users=number).collect() for number in (3, 5))
    assert len(few) == 2 * 3 * 2
    users = [{row.user_num for row in kept} for kept in (few, more)]
    assert (len(users[0]), len(users[1])) == (3, 5)
    assert users[0] < users[1]
