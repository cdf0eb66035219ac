import pytest

from crossrec_core.frames.items.item_features import to_item_features
from crossrec_core.frames.spark.contracts import spark_schema
from crossrec_core.tables import ITEM_FEATURES

pytestmark = pytest.mark.spark


def test_listed_and_seen_items_appear_once_with_empty_attributes_where_unlisted(spark):
    schema = ITEM_FEATURES.ddl.replace("`run_id` string, ", "")
    listed = spark.createDataFrame([("a", 1, "i1", "One", "one text", ["x"], {"price": 2.0}, {"tag": ["t"]})], schema)
    seen = spark.createDataFrame([("a", 1), ("a", 2), ("a", 2), ("b", 1)], "domain string, item_num bigint")
    ids = spark.createDataFrame([(1, "i1"), (2, "i2"), (3, "i3")], "item_num bigint, item_id string")
    found = {(row.domain, row.item_num): row for row in to_item_features(listed, seen, ids).collect()}
    assert set(found) == {("a", 1), ("a", 2), ("b", 1)}
    assert found["a", 1].numerics == {"price": 2.0}
    assert found["a", 2].item_id == "i2"
    assert (found["a", 2].title, found["a", 2].categories, found["a", 2].numerics) == (None, [], {})
    types = {field.name: field.dataType for field in spark_schema(ITEM_FEATURES)}
    assert {field.name: field.dataType.simpleString() for field in to_item_features(listed, seen, ids).schema} == {
        name: kind.simpleString() for name, kind in types.items() if name != "run_id"
    }
