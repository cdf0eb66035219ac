"""prepare on a small lake: run "one" twice by time, then run "two" leave-one-out with the rarer settings."""

from dataclasses import dataclass
from datetime import date

import pytest
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.errors import InputError
from crossrec_core.frames.spark.storage import read_table, write_table
from crossrec_core.lake import Lake
from jobs import prepare
from jobs.steps import Night
from tests.frames.plans import checked_plans

pytestmark = pytest.mark.spark

DAY_US = 86_400_000_000
CONFIG = """
[domains.films]
path = "unused"
value = "stars"
[domains.films.catalogue]
path = "{catalogue}"
title = "title"
numerics = ["year", "minutes", "price"]
categories = "genre"
[domains.books]
path = "unused"
[split]
test_days = 20
valid_days = 20
[sequences]
max_len = 5
earlier_parts = 1
"""
RARER = {
    "split": {"protocol": "leave_one_out"},
    "normalise": {"fill": "drop", "min_item_events": 8, "pca_dimensions": 2},
    "score": {"candidates": "listed"},
    "domains": {"films": {"positive_value": 4.0}},
}


@dataclass(frozen=True)
class Prepared:
    """A prepared lake and how to look at it."""

    spark: object
    lake: Lake

    def rows(self, table, run_id="one", *names):
        frame = read_table(self.spark, self.lake, table, run_id=run_id).drop(c.RUN_ID)
        return sorted((tuple(row) for row in frame.select(*(names or frame.columns)).collect()), key=repr)


def interactions():
    """20 users, a film or book every ten days from day 0 to 110; the first five never touch a book before day 90."""
    rows = []
    for user in range(20):
        for step in range(12):
            is_book = step % 2 == 1 and (user >= 5 or step == 11)
            item = (user * 3 + step * step) % 9
            value = None if is_book or (item == 6 and step == 0) else float(item)
            rows.append(("books" if is_book else "films", f"u{user}", f"i{item}", value, step * 10 * DAY_US))
    return rows


def write_interactions(spark, lake, run_id):
    schema = "domain string, user_id string, item_id string, value double, event_order bigint"
    frame = (
        spark.createDataFrame(interactions(), schema)
        .withColumn(c.RUN_ID, F.lit(run_id))
        .withColumn(c.ACTION, F.lit("interact"))
        .withColumn(c.WEIGHT, F.lit(1.0))
        .withColumn(c.EVENT_TIME, F.timestamp_micros(c.EVENT_ORDER))
    )
    write_table(frame, lake, t.INTERACTIONS, run_id=run_id)
    check = {c.RUN_ID: run_id, c.DOMAIN: "films", "check": "rows_read", "value": 7.0}
    write_rows(lake, t.DATA_QUALITY, [check], replace={c.RUN_ID: run_id})


@pytest.fixture(scope="module")
def prepared(spark, tmp_path_factory):
    """Every frame that is written has a plan that scales."""
    folder = tmp_path_factory.mktemp("prepare")
    prices = ["" if item == 3 else item * item for item in range(11)]
    lines = [f"i{n},Film {n},{1990 + n},{100 - n},{price},g{n % 2}" for n, price in enumerate(prices)]
    (folder / "films.csv").write_text("item_id,title,year,minutes,price,genre\n" + "\n".join(lines) + "\n")
    (folder / "config.toml").write_text(CONFIG.format(catalogue=folder / "films.csv"))
    lake = Lake(str(folder / "lake"))
    with checked_plans() as written:
        for run_id, overrides in (("one", {}), ("two", RARER)):
            write_interactions(spark, lake, run_id)
            settings = read_config(folder / "config.toml", overrides={"spark": {"shuffle_partitions": 2}, **overrides})
            prepare.run(settings, Night(run_id, date(2020, 1, 1), lake), spark)
    assert {"sequences", "earlier_sequences", "labelled_pairs", "feature_statistics"} <= set(written)
    return Prepared(spark, lake)


def test_numbers_are_dense_and_a_later_run_keeps_them(prepared):
    assert sorted(num for (num,) in prepared.rows(t.USER_IDS, "one", c.USER_NUM)) == list(range(1, 21))
    spaces = [space for (space,) in prepared.rows(t.ITEM_IDS, "one", c.ITEM_SPACE)]
    books = {item for domain, _, item, _, _ in interactions() if domain == "books"}
    assert (spaces.count("films"), spaces.count("books")) == (11, len(books))
    for table in (t.USER_IDS, t.ITEM_IDS, t.LABEL_IDS):
        assert prepared.rows(table, "two") == []


def test_every_train_time_is_before_valid_before_test(prepared):
    orders = {}
    for split, order in prepared.rows(t.SPLIT_INTERACTIONS, "one", c.SPLIT, c.EVENT_ORDER):
        orders.setdefault(split, []).append(order // DAY_US)
    assert max(orders["train"]) < min(orders["valid"]) <= max(orders["valid"]) < min(orders["test"])
    assert (set(orders["valid"]), set(orders["test"])) == ({80, 90}, {100, 110})


def test_values_are_normalised_by_training_rows(prepared):
    values = prepared.rows(t.SPLIT_INTERACTIONS, "one", c.SPLIT, c.VALUE, c.DOMAIN)
    train = [value for split, value, domain in values if split == "train" and domain == "films"]
    assert sum(train) == pytest.approx(0, abs=1e-9)
    assert sum(value * value for value in train) / len(train) == pytest.approx(1)
    assert {value for _, value, domain in values if domain == "books"} == {None}


def test_checks_stand_beside_those_of_clean(prepared):
    checks = {(domain, check): value for domain, check, value in prepared.rows(t.DATA_QUALITY)}
    assert checks["films", "rows_read"] == 7.0
    splits = ("rows_train", "rows_valid", "rows_test")
    assert sum(value for (_, check), value in checks.items() if check in splits) == len(interactions())


def test_negatives_are_never_seen_nor_truth(prepared):
    pairs = prepared.rows(t.LABELLED_PAIRS, "one", c.LABEL, c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUM)
    negatives = {tuple(key) for label, *key in pairs if label == 0}
    truth = set(prepared.rows(t.TRUTH, "one", c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUM))
    histories = prepared.rows(t.HISTORIES, "one", c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUMS)
    assert negatives
    assert not negatives & truth
    assert not negatives & {(*key, item) for *key, items in histories for item in items}


def test_values_as_logged_label_the_held_out_items_of_a_rated_domain(prepared):
    """Items' values are their numbers: i4 and above are clicks. Books have no values: their negatives are sampled."""
    pairs = prepared.rows(t.LABELLED_PAIRS, "two", c.DOMAIN, c.PURPOSE, c.USER_ID, c.ITEM_ID, c.LABEL)
    films = [row for row in pairs if row[0] == "films"]
    assert {label for *_, label in films} == {0, 1}
    assert all(label == (int(item[1:]) >= 4) for *_, item, label in films)
    known = prepared.rows(t.TRUTH, "two", c.DOMAIN, c.PURPOSE, c.USER_ID, c.ITEM_ID, c.IS_KNOWN_ITEM, c.SEGMENT)
    expected = {tuple(key) for *key, is_known, segment in known if key[0] == "films" and is_known and segment != "new"}
    assert {tuple(key) for *key, _ in films} == expected
    assert {label for domain, *_, label in pairs if domain == "books"} == {0, 1}


def test_values_as_logged_are_counted_by_user_and_item_of_a_rated_domain(prepared):
    """i4 and above are likes; an item's value is its number, normalised or not. Books and run "one" are not rated."""
    events = prepared.rows(t.SPLIT_INTERACTIONS, "two", c.DOMAIN, c.SPLIT, c.USER_NUM, c.ITEM_NUM)
    films = [event[1:] for event in events if event[0] == "films"]
    names = prepared.rows(t.ITEM_IDS, "one", c.ITEM_NUM, c.ITEM_ID)  # a later run keeps the numbers
    values = {num: int(item[1:]) for num, item in names}
    for table, place in ((t.USER_LIKES, 0), (t.ITEM_LIKES, 1)):
        expected = {}
        for split, *numbers in films:
            for purpose in [purpose for purpose, known in c.KNOWN_SPLITS.items() if split in known]:
                key = (purpose, "films", numbers[place])
                rated, likes = expected.get(key, (0, 0))
                expected[key] = rated + 1, likes + (values[numbers[1]] >= 4)
        found = prepared.rows(table, "two")
        assert {row[:3]: row[3:] for row in found} == expected
        assert 0 < sum(likes for _, likes in expected.values()) < sum(rated for rated, _ in expected.values())
        assert prepared.rows(table, "one") == []


def test_features_hold_every_listed_item_with_its_attributes(prepared):
    features = prepared.rows(t.ITEM_FEATURES, "one", c.ITEM_ID, c.DOMAIN, c.CATEGORIES, c.NUMERICS)
    films = {row[0]: row for row in features if row[1] == "films"}
    assert len(films) == 11
    assert films["i10"][2] == ["g0"]
    assert set(films["i3"][3]) == {"year", "minutes", "price"}  # the missing price is filled


def test_profiles_sum_to_1(prepared):
    totals = {}
    for user, domain, share in prepared.rows(t.USER_PROFILES, "one", c.USER_NUM, c.DOMAIN, c.SHARE):
        totals[user, domain] = totals.get((user, domain), 0) + share
    assert totals
    assert list(totals.values()) == pytest.approx([1.0] * len(totals))


def test_leave_one_out_holds_one_item_per_user_and_domain(prepared):
    held = prepared.rows(t.TRUTH, "two", c.PURPOSE, c.DOMAIN, c.USER_ID)
    assert len(held) == len(set(held)) > 0


def test_rows_without_a_value_and_thin_items_leave_and_are_counted(prepared):
    rejects = prepared.rows(t.REJECTS, "two", c.DOMAIN, c.REASON)
    missing = sum(domain == "films" and value is None for domain, _, _, value, _ in interactions())
    assert rejects == [("films", "missing_value")] * missing
    assert missing > 0


def test_items_out_of_the_core_train_nothing_and_are_masked_all_the_same(prepared):
    events = prepared.rows(t.SPLIT_INTERACTIONS, "two", c.SPLIT, c.DOMAIN, c.USER_NUM, c.ITEM_NUM)
    out = {tuple(key) for split, *key in events if split == c.OUT_OF_CORE}
    trained = {(domain, item) for split, domain, _, item in events if split == c.TRAIN}
    histories = prepared.rows(t.HISTORIES, "two", c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUMS)
    had = {
        (domain, user, item) for purpose, domain, user, items in histories if purpose == "validate" for item in items
    }
    candidates = prepared.rows(t.ITEM_POPULARITY, "two", c.PURPOSE, c.DOMAIN, c.ITEM_NUM, c.NUM_EVENTS)
    assert out
    assert out <= had
    assert not {(domain, item) for domain, _, item in out} & trained
    assert trained == {(domain, item) for purpose, domain, item, num in candidates if purpose == "validate" and num}


def test_earlier_sequences_hold_what_the_sequences_left_out(prepared):
    names = (c.PURPOSE, c.USER_NUM, c.EVENT_ORDERS, c.LENGTH)
    latest = {row[:2]: row[2:] for row in prepared.rows(t.SEQUENCES, "one", *names)}
    earlier = {row[:2]: row[2:] for row in prepared.rows(t.EARLIER_SEQUENCES, "one", *names)}
    assert earlier.keys() == {user for user, (_, length) in latest.items() if length == 5}
    assert all(max(orders) < min(latest[user][0]) for user, (orders, _) in earlier.items())
    assert {part for (part,) in prepared.rows(t.EARLIER_SEQUENCES, "one", c.PART)} == {1}


def test_components_join_the_numerics(prepared):
    films = prepared.rows(t.ITEM_FEATURES, "two", c.DOMAIN, c.NUMERICS)
    assert {"pca_1", "pca_2"} <= set(next(numerics for domain, numerics in films if domain == "films"))


def test_listed_items_are_candidates_when_asked(prepared):
    def touched(run_id):
        counts = prepared.rows(t.ITEM_POPULARITY, run_id, c.DOMAIN, c.NUM_EVENTS)
        return {num for domain, num in counts if domain == "films"}

    assert 0 in touched("two")
    assert 0 not in touched("one")


def test_a_repeated_run_gives_the_same_tables(prepared, tmp_path):
    folder = prepared.lake.path.rsplit("/", 1)[0]
    tables = (t.USER_IDS, t.ITEM_IDS, t.LABEL_IDS, t.SPLIT_INTERACTIONS, t.SEQUENCES, t.TRUTH, t.LABELLED_PAIRS,
              t.USER_LIKES, t.ITEM_LIKES)  # fmt: skip
    before = {table.name: prepared.rows(table) for table in tables}
    settings = read_config(f"{folder}/config.toml", overrides={"spark": {"shuffle_partitions": 2}})
    prepare.run(settings, Night("one", date(2020, 1, 1), prepared.lake), prepared.spark)
    assert {table.name: prepared.rows(table) for table in tables} == before


def test_a_target_without_test_events_is_refused_in_one_line(prepared):
    folder = prepared.lake.path.rsplit("/", 1)[0]
    settings = read_config(f"{folder}/config.toml", overrides={"split": {"cut": "1971-01-01"}})
    with pytest.raises(InputError, match=r"domains\.books: 0 test events seen .* change split.cut"):
        prepare.run(settings, Night("one", date(2020, 1, 1), prepared.lake), prepared.spark)
