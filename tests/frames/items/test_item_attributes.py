import pytest

from crossrec_core.frames.items.item_attributes import number_attributes, to_attribute_values, to_item_attributes

pytestmark = pytest.mark.spark

SCHEMA = (
    "item_num bigint, domain string, categories array<string>, numerics map<string,double>, "
    "labels map<string,array<string>>"
)


def values_of(spark, rows, training, *, number_buckets=4):
    features = spark.createDataFrame(rows, SCHEMA)
    items = spark.createDataFrame([(num,) for num in training], "item_num bigint")
    return to_attribute_values(features, items, number_buckets=number_buckets), items


def test_categories_are_shared_and_labels_are_a_domains_own(spark):
    rows = [(1, "a", ["Tea"], {}, {"brand": ["Ko", "Lo"]}), (1, "b", ["Tea"], {}, {"brand": ["Ko"]})]
    values, _ = values_of(spark, rows, [1])
    assert {tuple(row) for row in values.collect()} == {
        (1, "", "category", "Tea"), (1, "a", "label:brand", "Ko"), (1, "a", "label:brand", "Lo"),
        (1, "b", "label:brand", "Ko"),
    }  # fmt: skip


def test_buckets_of_numbers_end_where_training_items_say(spark):
    prices = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 1_000.0, 6: -5.0}
    rows = [(num, "a", [], {"price": price}, {}) for num, price in prices.items()] + [(7, "a", [], {}, {})]
    values, _ = values_of(spark, rows, [1, 2, 3, 4])
    assert {row.item_num: row.label_name for row in values.collect()} == {
        1: "0", 2: "1", 3: "2", 4: "3", 5: "3", 6: "0",
    }  # fmt: skip
    before, _ = values_of(spark, [row for row in rows if row[0] < 5], [1, 2, 3, 4])
    assert {tuple(row) for row in before.collect()} <= {tuple(row) for row in values.collect()}


def test_values_count_by_training_items_and_rare_ones_are_left_out(spark):
    rows = [(num, "a", ["often"], {}, {"brand": ["twice" if num < 3 else f"once{num}"]}) for num in range(1, 6)]
    rows.append((6, "a", ["after the cut"], {}, {"brand": ["after the cut"]}))
    values, training = values_of(spark, rows, range(1, 6))
    numbered = number_attributes(values, training, min_items=2).collect()
    assert {(row.label_name, row.num_items) for row in numbered} == {("often", 5), ("twice", 2)}
    assert sorted(row.attribute_num for row in numbered) == [1, 2]


def test_an_item_keeps_its_most_frequent_values_and_every_kind_weighs_one(spark):
    rows = [
        (1, "a", ["big", "small"], {}, {"brand": ["Ko"]}), (2, "a", ["big", "rare"], {}, {}),
        (3, "a", ["big", "small"], {}, {"brand": ["Ko"]}), (4, "a", ["unseen"], {}, {}),
    ]  # fmt: skip
    values, training = values_of(spark, rows, [1, 2, 3])
    ids = number_attributes(values, training, min_items=1)
    names = {row.attribute_num: row.label_name for row in ids.collect()}

    def kept(max_per_item):
        items = to_item_attributes(values, ids, max_per_item=max_per_item).collect()
        return {
            row.item_num: dict(zip([names[num] for num in row.attribute_nums], row.weights, strict=True))
            for row in items
        }

    assert kept(8)[1] == {"big": 0.5, "small": 0.5, "Ko": 1.0}
    assert kept(8)[2] == {"big": 0.5, "rare": 0.5}
    assert set(kept(8)) == {1, 2, 3}
    assert kept(1) == {num: {"big": 1.0} for num in (1, 2, 3)}
