import numpy as np
import pytest

from crossrec_core.frames.items.item_texts import (
    TEXT_VECTOR_SCHEMA,
    encode_new_texts,
    pick_items,
    to_item_texts,
    with_encoded,
    with_vectors,
    with_whitened,
)

pytestmark = pytest.mark.spark


def load_lengths():
    """An encoder: the text's length and its number of e's."""
    return lambda texts: np.array([[len(text), text.count("e")] for text in texts], np.float32).reshape(-1, 2)


@pytest.fixture
def item_texts(spark):
    rows = [(1, "tea"), (2, "iron pan"), (3, "tea"), (4, "")]
    return spark.createDataFrame(rows, "item_num bigint, text string")


def vectors_of(frame):
    return {row[0]: list(row[1]) for row in frame.collect()}


def test_an_item_of_several_domains_keeps_its_longest_text(spark):
    rows = [(1, "Tea", None), (1, "Tea", "Tea, black"), (2, "Pan", " "), (3, None, None)]
    features = spark.createDataFrame(rows, "item_num bigint, title string, text string")
    assert {tuple(row) for row in to_item_texts(features).collect()} == {(1, "Tea, black"), (2, "Pan")}


def test_only_wanted_items_are_picked_and_not_too_many(spark, item_texts):
    wanted = spark.createDataFrame([(1,), (2,), (3,), (9,)], "item_num bigint")
    assert {row.item_num for row in pick_items(item_texts, wanted, max_items=5).collect()} == {1, 2, 3}
    two = [row.item_num for row in pick_items(item_texts, wanted, max_items=2).collect()]
    again = [row.item_num for row in pick_items(item_texts.repartition(3), wanted, max_items=2).collect()]
    assert len(two) == 2
    assert two == again


def test_items_without_a_vector_have_no_row(item_texts):
    assert vectors_of(with_vectors(item_texts, load_lengths)) == {1: [3, 1], 2: [8, 0], 3: [3, 1]}


def test_whitening_is_applied_to_every_row(item_texts):
    raw = with_vectors(item_texts, load_lengths)
    halved = with_whitened(raw, lambda: lambda raw_NW: (raw_NW - [3, 1]) / 2)
    assert vectors_of(halved) == {2: [2.5, -0.5]}


def test_a_text_is_encoded_once_and_only_if_it_is_new(spark, item_texts):
    none = spark.createDataFrame([], TEXT_VECTOR_SCHEMA)
    encoded = encode_new_texts(item_texts, none, load_lengths, num_partitions=2)
    assert sorted(list(row.vector) for row in encoded.collect()) == [[0, 0], [3, 1], [8, 0]]
    more = item_texts.unionByName(spark.createDataFrame([(5, "teepee")], item_texts.schema))
    new = encode_new_texts(more, encoded, load_lengths, num_partitions=2)
    assert [list(row.vector) for row in new.collect()] == [[6, 4]]
    found = vectors_of(with_encoded(more, encoded.unionByName(new)))
    assert found == {1: [3, 1], 2: [8, 0], 3: [3, 1], 4: [0, 0], 5: [6, 4]}
