from datetime import UTC, datetime
from random import Random

import pytest
from pyspark.sql import functions as F

from crossrec_core.frames.logs.clean import REASONS, split_by_reason, with_reason
from tests.frames.plans import check_plan

pytestmark = pytest.mark.spark

SCHEMA = (
    "domain string, user_id string, item_id string, action string, value double, value_text string, "
    "time_text string, event_time timestamp, event_order bigint, is_corrupt boolean, source_file string, "
    "raw_text string"
)
RULES = {
    "event_weights": {"shop": {"view": 1.0, "buy": 3.0}, "films": {"watch": 2.0}, "feed": {"view": 1.0}},
    "value_bounds": {"shop": (0.0, 5.0), "films": (-1e300, 1e300), "feed": (0.0, 5.0)},
    "oldest": datetime(1990, 1, 1, tzinfo=UTC),
    "newest": datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "drop_duplicates": True,
    "repeat_within_s": 0,
    "max_events_per_day": 0,
    "max_events_per_minute": 0,
}
NOON = 1_700_049_600  # a whole minute, 2023-11-15 12:00 UTC
DAY = 86_400


def event(
    second=NOON, *, user_id="u", item_id="i", domain="shop", action="view", value=None, is_corrupt=False, position=None,
    raw_text="",
):  # fmt: skip
    """One event as ``sources`` would give it; ``second`` None for an unparsable time."""
    moment = None if second is None or position is not None else datetime.fromtimestamp(second, UTC)
    order = position if position is not None else second and int(second * 1_000_000)
    try:
        number = None if value is None else float(value)
    except ValueError:
        number = None
    text = raw_text or f"{domain},{user_id},{item_id},{action},{order},{value}"
    return (domain, user_id, item_id, action, number, value, str(order), moment, order, is_corrupt, "log.csv", text)


def frame_of(spark, rows):
    return spark.createDataFrame(rows, SCHEMA)


def outcome(spark, rows, **rules):
    """(reason or 'kept', user, item, second or position) of every row, sorted."""
    cleaned = split_by_reason(with_reason(frame_of(spark, rows), **{**RULES, **rules}))
    columns = (F.col("user_id"), F.col("item_id"), F.col("event_order"), F.col("raw_text"))
    kept = cleaned.kept.select(F.lit("kept").alias("reason"), *columns)
    return sorted((tuple(row) for row in kept.union(cleaned.rejected.select("reason", *columns)).collect()), key=repr)


def reasons_by_second(spark, seconds, **rules):
    seen = outcome(spark, [event(NOON + second) for second in seconds], **rules)
    return {order // 1_000_000 - NOON: reason for reason, _, _, order, _ in seen}


ROW_RULES = [
    ("corrupt_row", event(is_corrupt=True, domain=None)),
    ("unknown_domain", event(domain=None, user_id=None)),
    ("missing_user", event(user_id=" ", item_id=None)),
    ("missing_item", event(item_id="", user_id="__new__")),
    ("reserved_user_id", event(user_id="__new__", second=None)),
    ("unparsable_time", event(None, action="fly")),
    ("ancient_time", event(631_151_999, action="fly")),
    ("future_time", event(1_769_904_000, action="fly")),
    ("unknown_event_type", event(action="watch", value="x")),
    ("unknown_event_type", event(action=None)),
    ("unparsable_value", event(value="x")),
    ("value_out_of_bounds", event(value="5.01")),
    ("value_out_of_bounds", event(value="-0.01")),
    ("value_out_of_bounds", event(value="NaN")),
]
SOUND = [
    event(631_152_000), event(1_769_903_999), event(value="5"), event(NOON + 1, value=" "),
    event(domain="films", action="watch", value="99"), event(domain="feed", position=5, user_id="p"),
    event(user_id="i", item_id="u"),
]  # fmt: skip


def test_each_row_rule_rejects_its_row_and_the_first_that_applies_is_named(spark):
    rows = [(*row[:-1], f"{number}") for number, (_, row) in enumerate(ROW_RULES)]
    seen = {int(raw_text): reason for reason, *_, raw_text in outcome(spark, rows)}
    assert seen == {number: reason for number, (reason, _) in enumerate(ROW_RULES)}
    assert [reason for reason in REASONS if reason in seen.values()] == list(dict.fromkeys(r for r, _ in ROW_RULES))


def test_rows_on_the_edge_of_the_rules_are_kept_with_their_weight(spark):
    cleaned = split_by_reason(with_reason(frame_of(spark, [*SOUND, event(action="buy", user_id="b")]), **RULES))
    assert cleaned.rejected.count() == 0
    weights = {(row.domain, row.action): row.weight for row in cleaned.kept.collect()}
    assert weights == {("shop", "view"): 1.0, ("shop", "buy"): 3.0, ("films", "watch"): 2.0, ("feed", "view"): 1.0}


def test_duplicates_leave_one_row_that_the_order_of_rows_does_not_choose(spark):
    rows = [event(raw_text=f"row {number}") for number in range(5)] + [event(raw_text="row 1")]
    rows += [event(item_id="j"), event(action="buy"), event(domain="films", action="watch"), event(user_id="v")]
    first = outcome(spark, rows)
    assert [reason for reason, *_ in first].count("duplicate") == 5
    assert outcome(spark, rows[::-1]) == first
    assert {reason for reason, *_ in outcome(spark, rows, drop_duplicates=False)} == {"kept"}


def test_near_duplicates_keep_the_first_event_of_a_chain(spark):
    seen = reasons_by_second(spark, [0, 2, 4, 30, 33, 37], repeat_within_s=3)
    assert [second for second, reason in seen.items() if reason == "near_duplicate"] == [2, 4, 33]
    other = [event(NOON), event(NOON + 1, item_id="j"), event(NOON + 1, action="buy"), event(NOON + 1, user_id="v")]
    assert {reason for reason, *_ in outcome(spark, other, repeat_within_s=3)} == {"kept"}


def test_bot_loses_all_events_of_the_domain_and_others_none(spark):
    bot = [event(NOON + second) for second in range(3)] + [event(NOON + DAY)]
    others = [event(NOON, domain="films", action="watch"), *[event(NOON + DAY * day, user_id="v") for day in range(2)]]
    others.append(event(NOON + 1, user_id="v"))  # two a day are not above two
    broken = [event(NOON + second, user_id="v", value="x") for second in range(3)]
    seen = outcome(spark, bot + others + broken, max_events_per_day=2)
    assert [reason for reason, *_ in seen].count("bot") == 4
    assert [reason for reason, *_ in seen].count("kept") == 4


def test_burst_keeps_the_earliest_events_of_each_minute(spark):
    rows = [event(NOON + second, item_id=f"i{second}") for second in (0, 10, 20, 59, 60, 61)]
    repeat = event(NOON, item_id="i0", raw_text="again")  # a duplicate takes no place in the minute
    seen = outcome(spark, [*rows, repeat], max_events_per_minute=2)
    assert sorted(item_id for reason, _, item_id, *_ in seen if reason == "burst") == ["i20", "i59"]
    assert [reason for reason, *_ in seen].count("duplicate") == 1


def test_positions_know_duplicates_but_no_rule_of_time(spark):
    rows = [event(domain="feed", position=place) for place in (1, 2, 3, 3)]
    rows[-1] = (*rows[-1][:-1], "again")
    seen = outcome(spark, rows, repeat_within_s=100, max_events_per_day=1, max_events_per_minute=1)
    assert sorted(reason for reason, *_ in seen) == ["duplicate", "kept", "kept", "kept"]


STRICT = {"repeat_within_s": 20, "max_events_per_day": 8, "max_events_per_minute": 2}


def random_events(random, *, num_events):
    """Events of twenty users, many of them broken, repeated or too dense."""
    users = [*(f"u{number}" for number in range(20)), "", None, "__new__"]
    seconds = [*(NOON + 15 * step for step in range(12)), NOON + DAY, 0, None]
    events = [
        event(
            random.choice(seconds), user_id=random.choice(users), item_id=random.choice(["i", "i", "j", None]),
            domain=random.choice(["shop", "shop", "films", None]), action=random.choice(["view", "watch", "buy", None]),
            value=random.choice([None, None, "1", "x", "9"]),
        )
        for _ in range(num_events)
    ]  # fmt: skip
    return [(*row[:-1], row[-1] + random.choice([" a", " b"])) for row in events]


def test_every_row_comes_out_once_whatever_the_order_and_a_second_cleaning_changes_nothing(spark):
    random = Random(5)
    rows = random_events(random, num_events=1500)
    first = outcome(spark, rows, **STRICT)
    assert sorted(text for *_, text in first) == sorted(row[-1] for row in rows)
    mixed = random.sample(rows, len(rows))
    assert {reason for reason, *_ in first} >= {"kept", "bot", "duplicate", "near_duplicate", "burst"}
    assert outcome(spark, mixed, **STRICT) == first
    events = frame_of(spark, mixed).repartition(3)
    cleaned = split_by_reason(with_reason(events, **{**RULES, **STRICT}))
    again = split_by_reason(with_reason(cleaned.kept, **{**RULES, **STRICT}))
    assert again.rejected.count() == 0
    assert sorted(map(repr, again.kept.collect())) == sorted(map(repr, cleaned.kept.collect()))


def test_plan_has_one_shuffle_and_no_window_over_a_single_partition(spark):
    cleaned = split_by_reason(with_reason(frame_of(spark, [event()]), **{**RULES, **STRICT}))
    for frame in (cleaned.kept, cleaned.rejected):
        check_plan(frame)
        assert frame._jdf.queryExecution().executedPlan().toString().count("Exchange ") == 1
