import pytest

from crossrec_core.frames.items.item_graph import to_edges

pytestmark = pytest.mark.spark

SCHEMA = (
    "user_num bigint, domain string, item_num bigint, event_time timestamp, event_order bigint, tie_break bigint, "
    "action_num bigint"
)


def events(spark, histories):
    rows = [
        (user, "a", item, None, place, 0, 1) for user, items in histories.items() for place, item in enumerate(items)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def test_items_next_to_each_other_are_counted_in_either_order(spark):
    edges = to_edges(events(spark, {1: [1, 2, 2, 3], 2: [2, 1]}), max_history=10, max_edges=10)
    assert {tuple(row) for row in edges.collect()} == {(1, 2, 2.0), (2, 3, 1.0)}


def test_only_the_latest_events_and_so_many_edges_count(spark):
    made = events(spark, {1: [1, 2, 3, 4]})
    assert {tuple(row) for row in to_edges(made, max_history=2, max_edges=10).collect()} == {(3, 4, 1.0)}
    assert to_edges(made, max_history=10, max_edges=2).count() == 2
