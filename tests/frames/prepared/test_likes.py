import pytest
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.likes import to_likes
from crossrec_core.frames.prepared.splits import to_known_events
from tests.frames.made_events import make_events, rows_of

pytestmark = pytest.mark.spark
# user, domain, item, second, split, value
RATED = [
    (7, "films", 1, 1, "train", 5.0), (7, "films", 2, 2, "train", 3.5), (7, "films", 3, 3, "valid", 4.0),
    (8, "films", 1, 1, "train", 4.0), (8, "films", 2, 2, "train", None), (8, "books", 1, 3, "train", 5.0),
    (9, "films", 1, 4, "test", 1.0),
]  # fmt: skip
COUNTS = (c.NUM_RATED, c.NUM_LIKES)


def likes_of(spark, by, rows=RATED):
    values = {(user, domain, item): value for user, domain, item, _, _, value in rows}
    found = make_events(spark, [row[:5] for row in rows]).drop(c.VALUE)
    named = spark.createDataFrame(
        [(*key, value) for key, value in values.items()],
        "user_num bigint, domain string, item_num bigint, value double",
    )
    events = found.join(named, on=[c.USER_NUM, c.DOMAIN, c.ITEM_NUM], how="inner")
    known = to_known_events(events, ["validate", "backtest", "serve"])
    return {
        purpose: rows_of(to_likes(known, by, positive_values={"films": 4.0}).where(F.col(c.PURPOSE) == purpose),
                         c.DOMAIN, by, *COUNTS)
        for purpose in ("validate", "backtest", "serve")
    }  # fmt: skip


def test_each_purpose_counts_the_values_it_may_know(spark):
    """User 8 has no value on film 2; nobody asked for likes of books; film 3 is rated in the validation window."""
    assert likes_of(spark, c.USER_NUM) == {
        "validate": [("films", 7, 2, 1), ("films", 8, 1, 1)],
        "backtest": [("films", 7, 3, 2), ("films", 8, 1, 1)],
        "serve": [("films", 7, 3, 2), ("films", 8, 1, 1), ("films", 9, 1, 0)],
    }
    assert likes_of(spark, c.ITEM_NUM) == {
        "validate": [("films", 1, 2, 2), ("films", 2, 1, 0)],
        "backtest": [("films", 1, 2, 2), ("films", 2, 1, 0), ("films", 3, 1, 1)],
        "serve": [("films", 1, 3, 2), ("films", 2, 1, 0), ("films", 3, 1, 1)],
    }


@pytest.mark.parametrize("by", [c.USER_NUM, c.ITEM_NUM])
def test_a_held_out_value_changes_nothing_that_its_purpose_knows(spark, by):
    before = likes_of(spark, by)
    for split, knows_nothing in (("valid", ["validate"]), ("test", ["validate", "backtest"])):
        changed = [(*row[:5], 5.0 - row[5] if row[4] == split else row[5]) for row in RATED]
        after = likes_of(spark, by, changed)
        assert {purpose for purpose in before if before[purpose] == after[purpose]} == set(knows_nothing)
