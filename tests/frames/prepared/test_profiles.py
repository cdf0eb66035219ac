import pytest

from crossrec_core.frames.prepared.profiles import to_user_profiles
from tests.frames.made_events import make_events

pytestmark = pytest.mark.spark
DAY_S = 86_400
ITEMS = [("a", 1, ["red"]), ("a", 2, ["red", "blue"]), ("a", 3, [])]


def profile(spark, rows, *, half_life_days=1.0, order_only=()):
    items = spark.createDataFrame(ITEMS, "domain string, item_num bigint, categories array<string>")
    events = make_events(spark, [(1, "a", item, second, "train") for item, second in rows])
    shares = to_user_profiles(events, items, order_only=order_only, half_life_days=half_life_days)
    return {row.category: row.share for row in shares.collect()}


def test_shares_decay_by_half_life_and_sum_to_1(spark):
    shares = profile(spark, [(1, 0), (2, 1 * DAY_S)])
    assert shares == pytest.approx({"red": (0.5 + 0.5) / 1.5, "blue": 0.5 / 1.5})


def test_items_without_categories_do_not_count_but_make_others_older(spark):
    assert profile(spark, [(2, 0), (3, 5 * DAY_S)]) == pytest.approx({"red": 0.5, "blue": 0.5})


def test_a_half_life_of_0_switches_decay_off(spark):
    assert profile(spark, [(1, 0), (2, 9 * DAY_S)], half_life_days=0.0) == pytest.approx({"red": 0.75, "blue": 0.25})


def test_a_position_of_an_order_only_log_counts_as_a_day(spark):
    # make_events multiplies by a million: the first event is a million positions older, so it has decayed to nothing
    assert profile(spark, [(1, 0), (2, 1)], order_only=["a"]) == pytest.approx({"red": 0.5, "blue": 0.5})
    assert profile(spark, [(1, 0), (2, 1)])["red"] == pytest.approx(0.75, abs=1e-4)
