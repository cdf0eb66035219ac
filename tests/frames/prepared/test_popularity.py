import pytest

from crossrec_core.frames.prepared.popularity import to_popularity, with_listed_items
from crossrec_core.frames.prepared.splits import to_known_events
from tests.frames.made_events import HALF_LIVES, make_events, rows_of

pytestmark = pytest.mark.spark
COUNTS = ("item_num", "num_events", "num_users", "weight", "is_head")
DAY_S = 86_400


def popularity_of(spark, counts, *, head_share=0.5):
    rows = [(user % 3, "a", item, 1, "train") for item, count in counts.items() for user in range(count)]
    return to_popularity(
        to_known_events(make_events(spark, rows), ["validate"]),
        head_share=head_share,
        half_life_days=30.0,
        trend_half_lives_days=[7.0],
    )


def test_events_users_and_weight_are_counted_per_item(spark):
    found = rows_of(popularity_of(spark, {1: 4, 2: 1}), *COUNTS)
    assert found == [(1, 4, 3, 4.0, True), (2, 1, 1, 1.0, False)]


@pytest.mark.parametrize(
    ("head_share", "head"), [(0.0, set()), (0.39, {1}), (0.41, {1, 2, 3}), (0.8, {1, 2, 3}), (0.81, {1, 2, 3, 4, 5})]
)
def test_head_takes_items_by_count_until_the_share_is_reached(spark, head_share, head):
    popularity = popularity_of(spark, {1: 4, 2: 2, 3: 2, 4: 1, 5: 1}, head_share=head_share)
    assert {row.item_num for row in popularity.where("is_head").collect()} == head


def test_each_purpose_counts_what_it_may_know(spark):
    events = make_events(spark, [(1, "a", 1, 1, "train"), (1, "a", 1, 2, "valid"), (1, "a", 2, 3, "test")])
    known = to_known_events(events, ["validate", "backtest", "serve"])
    assert rows_of(to_popularity(known, head_share=0.5, **HALF_LIVES), "purpose", "item_num", "num_events") == [
        ("backtest", 1, 2), ("serve", 1, 2), ("serve", 2, 1), ("validate", 1, 1),
    ]  # fmt: skip


def test_listed_items_become_candidates_without_events(spark):
    listed = spark.createDataFrame([("a", 1), ("a", 9), ("untouched", 1)], "domain string, item_num bigint")
    purposes = ["serve", "validate"]
    popularity = with_listed_items(popularity_of(spark, {1: 2}), listed, purposes=purposes, num_trends=1)
    assert rows_of(popularity, "purpose", "domain", *COUNTS) == [
        ("serve", "a", 1, 0, 0, 0.0, False), ("serve", "a", 9, 0, 0, 0.0, False),
        ("serve", "untouched", 1, 0, 0, 0.0, False), ("validate", "a", 1, 2, 2, 2.0, True),
        ("validate", "a", 9, 0, 0, 0.0, False), ("validate", "untouched", 1, 0, 0, 0.0, False),
    ]  # fmt: skip


def test_recent_weight_halves_with_age_and_knows_nothing_of_later_purposes(spark):
    rows = [(1, "a", 1, 0, "train"), (2, "a", 1, 10 * DAY_S, "train"), (3, "a", 2, 20 * DAY_S, "train"),
            (3, "a", 2, 90 * DAY_S, "test"), (4, "b", 3, 50 * DAY_S, "train")]  # fmt: skip
    known = to_known_events(make_events(spark, rows), ["backtest"])
    popularity = to_popularity(known, head_share=0.5, half_life_days=10.0, trend_half_lives_days=[5.0, 20.0])
    assert rows_of(popularity, "item_num", "recent_weight", "trend_weights") == [
        (1, 0.25 + 0.5, [0.0625 + 0.25, pytest.approx(0.5 + 0.5**0.5)]), (2, 1.0, [1.0, 1.0]), (3, 1.0, [1.0, 1.0]),
    ]  # fmt: skip
