import pytest
from pyspark.sql import functions as F

from crossrec_core.frames.prepared.splits import (
    AFTER_TEST,
    DAY_US,
    Cut,
    make_cuts,
    purposes_of,
    read_last_orders,
    to_known_events,
    with_leave_one_out,
    with_tie_break,
    with_time_split,
)
from tests.frames.made_events import make_events, rows_of

RULES = {"cut": "", "test_days": 2.0, "valid_days": 1.0, "per_domain": False}
DAY_S = 86_400


def split_by_time(events, **rules):
    return with_time_split(events, make_cuts(read_last_orders(events), **{**RULES, **rules}))


def test_a_cut_from_the_end_holds_the_last_days_and_the_last_event():
    assert make_cuts({"a": 10 * DAY_US}, **RULES) == {"a": Cut(7 * DAY_US + 1, 8 * DAY_US + 1, 10 * DAY_US + 1)}


def test_a_given_cut_starts_the_test_at_midnight_utc():
    cut = make_cuts({"a": 0}, **{**RULES, "cut": "1970-01-11"})["a"]
    assert cut == Cut(9 * DAY_US, 10 * DAY_US, 12 * DAY_US)


def test_domains_share_the_latest_end_unless_cut_apart():
    ends = {"a": 10 * DAY_US, "b": 20 * DAY_US}
    assert len(set(make_cuts(ends, **RULES).values())) == 1
    assert make_cuts(ends, **{**RULES, "per_domain": True})["a"].test_end == 10 * DAY_US + 1


@pytest.mark.spark
def test_every_train_time_is_before_valid_before_cut_before_test(spark):
    events = make_events(spark, [(1, "a", k, k * DAY_S // 3, "") for k in range(30)])
    bounds = split_by_time(events).groupBy("split").agg(F.min("event_order"), F.max("event_order"))
    times = {split: (first, last) for split, first, last in bounds.collect()}
    cut = make_cuts(read_last_orders(events), **RULES)["a"]
    assert times["train"][1] < cut.valid_start <= times["valid"][0]
    assert times["valid"][1] < cut.test_start <= times["test"][0]
    assert times["test"][1] < cut.test_end


@pytest.mark.spark
def test_events_after_the_test_window_are_marked(spark):
    events = make_events(spark, [(1, "a", day, day * DAY_S, "") for day in (8, 9, 10, 11, 12)])
    rows = rows_of(split_by_time(events, cut="1970-01-11"), "item_num", "split")
    assert sorted(rows) == [(8, "train"), (9, "valid"), (10, "test"), (11, "test"), (12, AFTER_TEST)]


@pytest.mark.spark
@pytest.mark.parametrize(("days", "absent"), [({"test_days": 0.0}, "test"), ({"valid_days": 0.0}, "valid")])
def test_no_days_give_no_rows(spark, days, absent):
    events = make_events(spark, [(1, "a", k, k * DAY_S, "") for k in range(20)])
    splits = {split for (split,) in rows_of(split_by_time(events, **days), "split")}
    assert splits == {"train", "valid", "test"} - {absent}


@pytest.mark.spark
def test_leave_one_out_holds_the_last_two_events_of_users_with_three(spark):
    long, short = [(1, "a", k, k, "") for k in (1, 2, 3, 4)], [(1, "b", k, k, "") for k in (1, 2)]
    events = with_leave_one_out(make_events(spark, long + short), hold_test=True, hold_valid=True)
    assert rows_of(events, "domain", "item_num", "split") == [
        ("a", 1, "train"), ("a", 2, "train"), ("a", 3, "valid"), ("a", 4, "test"), ("b", 1, "train"), ("b", 2, "train"),
    ]  # fmt: skip


@pytest.mark.spark
def test_leave_one_out_without_a_test_validates_on_the_last_event(spark):
    events = make_events(spark, [(1, "a", k, k, "") for k in (1, 2, 3)])
    events = with_leave_one_out(events, hold_test=False, hold_valid=True)
    assert rows_of(events, "item_num", "split") == [(1, "train"), (2, "train"), (3, "valid")]


@pytest.mark.spark
def test_leave_one_out_across_domains_holds_the_last_two_events_of_the_mixed_sequence(spark):
    mixed = [(1, "a", 1, 1, ""), (1, "b", 2, 2, ""), (1, "a", 3, 3, ""), (1, "a", 4, 4, ""), (2, "a", 1, 1, "")]
    events = with_leave_one_out(make_events(spark, mixed), hold_test=True, hold_valid=True, across_domains=True)
    assert rows_of(events, "user_num", "domain", "item_num", "split") == [
        (1, "a", 1, "train"), (1, "a", 3, "valid"), (1, "a", 4, "test"), (1, "b", 2, "train"), (2, "a", 1, "train"),
    ]  # fmt: skip


@pytest.mark.spark
def test_ties_in_time_follow_the_hash_not_the_id(spark):
    """Over many users with three items at one moment, each item must be the last one of some."""
    outside = spark.range(200).selectExpr("cast(id as string) user_id", "explode(array('a','b','c')) item_id")
    tied = with_tie_break(outside, seed=17).selectExpr(
        "cast(user_id as bigint) user_num", "'d' domain", "item_id", "1 event_order", "tie_break", "1 action_num"
    )
    last = with_leave_one_out(tied, hold_test=True, hold_valid=True).where("split = 'test'")
    counts = {row.item_id: row["count"] for row in last.groupBy("item_id").count().collect()}
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 200 / 3 - 4 * (200 * 2 / 9) ** 0.5
    other_seed = with_tie_break(outside, seed=18)
    assert rows_of(other_seed, "tie_break") != rows_of(with_tie_break(outside, seed=17), "tie_break")


@pytest.mark.spark
def test_each_purpose_knows_its_splits_only(spark):
    events = make_events(spark, [(1, "a", 1, 1, "train"), (1, "a", 2, 2, "valid"), (1, "a", 3, 3, "test")])
    purposes = purposes_of(hold_test=True, hold_valid=True)
    assert rows_of(to_known_events(events, purposes), "purpose", "item_num") == [
        ("backtest", 1), ("backtest", 2), ("serve", 1), ("serve", 2), ("serve", 3), ("validate", 1),
    ]  # fmt: skip


def test_a_run_without_test_days_has_no_backtest():
    assert purposes_of(hold_test=False, hold_valid=True) == ["validate", "serve"]
    assert purposes_of(hold_test=False, hold_valid=False) == ["serve"]
