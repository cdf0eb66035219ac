import pytest

from crossrec_core.frames.prepared.pairs import to_labelled_pairs, to_rated_pairs
from crossrec_core.frames.prepared.popularity import to_popularity
from crossrec_core.frames.prepared.sequences import to_histories
from crossrec_core.frames.prepared.splits import to_known_events
from crossrec_core.frames.prepared.truth import to_truth
from tests.frames.made_events import HALF_LIVES, make_events, rows_of

pytestmark = pytest.mark.spark
PAIR = ("purpose", "domain", "user_num", "item_num")


def world(spark, *, num_files=1):
    """30 users of 40 items; item k has more events the smaller k is; everyone takes up two items at the end."""
    grid = [(user, item) for user in range(1, 31) for item in range(1, 41)]
    train = [(user, "a", item, item, "train") for user, item in grid if (user * 7 + item * item) % (2 + item // 4) == 0]
    test = [(user, "a", 1 + (user * 11 + k * 5) % 40, 100 + k, "test") for user in range(1, 31) for k in range(2)]
    events = make_events(spark, [*train, *test, (99, "a", 1, 101, "test")], num_files=num_files)
    known = to_known_events(events, ["backtest"])
    histories, popularity = to_histories(known), to_popularity(known, head_share=0.5, **HALF_LIVES)
    truth = to_truth(events, histories, popularity, targets=["a"], new_items_only=["a"])
    return truth, histories, popularity


def pairs_of(spark, *, num_files=1, negatives=4, seed=17):
    truth, histories, popularity = world(spark, num_files=num_files)
    return to_labelled_pairs(truth, histories, popularity, negatives_per_positive=negatives, seed=seed)


def test_negatives_are_candidates_neither_seen_nor_truth_and_pairs_are_unique(spark):
    truth, histories, popularity = world(spark)
    pairs = to_labelled_pairs(truth, histories, popularity, negatives_per_positive=20, seed=17)
    negatives = set(rows_of(pairs.where("label = 0"), *PAIR))
    assert len(negatives) > 100
    assert not negatives & set(rows_of(truth, *PAIR))
    seen = {(row.user_num, item) for row in histories.collect() for item in row.item_nums}
    assert not {(user, item) for _, _, user, item in negatives} & seen
    assert {item for *_, item in negatives} <= {row.item_num for row in popularity.collect()}
    assert pairs.select(*PAIR).distinct().count() == pairs.count()


def test_positives_are_the_known_truth_items_of_known_users(spark):
    truth, histories, popularity = world(spark)
    pairs = to_labelled_pairs(truth, histories, popularity, negatives_per_positive=1, seed=17)
    expected = truth.where("is_known_item and segment <> 'new'")
    assert rows_of(pairs.where("label = 1"), *PAIR) == rows_of(expected, *PAIR)
    assert 99 not in {row.user_num for row in pairs.collect()}


def test_every_second_draw_prefers_popular_items(spark):
    """Item 1 has 97 of 100 events: uniform draws alone would give it to 7 of 16 users, a popular one to nearly all."""
    group = ("'backtest' purpose", "'a' domain")
    truth = spark.range(1, 51).selectExpr(
        *group, "id user_num", "4L item_num", "true is_known_item", "'cold_in_domain' segment"
    )
    popularity = spark.range(1, 5).selectExpr(*group, "id item_num", "if(id = 1, 97L, 1L) num_events")
    histories = truth.selectExpr("purpose", "domain", "user_num", "array(0L) item_nums").where("false")
    pairs = to_labelled_pairs(truth, histories, popularity, negatives_per_positive=2, seed=17)
    assert pairs.where("label = 0 and item_num = 1").count() >= 45


def test_pairs_depend_on_the_seed_and_not_on_partitions(spark):
    once = rows_of(pairs_of(spark), *PAIR, "label")
    assert once == rows_of(pairs_of(spark, num_files=4), *PAIR, "label")
    assert once != rows_of(pairs_of(spark, seed=18), *PAIR, "label")


TRUTH = (
    "purpose string, domain string, user_num bigint, user_id string, item_num bigint, item_id string, "
    "event_order bigint, is_known_item boolean, segment string"
)
LOG = "domain string, user_id string, item_id string, event_order bigint, value double"


def test_a_held_out_item_is_a_click_where_its_value_says_so(spark):
    def held(domain, item, order, *, is_known=True, segment="warm"):
        return ("backtest", domain, 1, "u", item, f"i{item}", order, is_known, segment)

    truth = spark.createDataFrame(
        [held("films", 1, 7), held("films", 2, 8), held("films", 3, 9), held("films", 4, 9, is_known=False),
         held("films", 5, 9, segment="new"), held("films", 6, 9), held("books", 1, 7)], TRUTH,
    )  # fmt: skip
    log = spark.createDataFrame(
        [("films", "u", "i1", 7, 4.0), ("films", "u", "i1", 9, 1.0), ("films", "u", "i2", 8, 3.5),
         ("films", "u", "i3", 9, 2.0), ("films", "u", "i3", 9, 5.0), ("films", "u", "i4", 9, 5.0),
         ("films", "u", "i5", 9, 5.0), ("films", "u", "i6", 9, None), ("films", "v", "i2", 8, 5.0),
         ("books", "u", "i1", 7, 5.0)], LOG,
    )  # fmt: skip
    pairs = to_rated_pairs(truth, log, positive_values={"films": 4.0})
    assert rows_of(pairs, *PAIR, "label") == [
        ("backtest", "films", 1, 1, 1), ("backtest", "films", 1, 2, 0), ("backtest", "films", 1, 3, 1),
    ]  # fmt: skip
