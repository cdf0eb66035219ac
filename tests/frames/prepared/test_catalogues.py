import gzip

import pytest

from crossrec_core.errors import InputError
from crossrec_core.frames.prepared.catalogues import read_catalogue
from tests.frames.plans import check_plan

pytestmark = pytest.mark.spark

COLUMNS = {
    "item_id": "id", "title": "name", "text": ["name", "about"], "categories": "kinds", "separator": "|",
    "numerics": ["price", "weight"], "labels": ["tags"],
}  # fmt: skip
HEADER = "id,name,about,kinds,price,weight,tags,shop\n"


def read(spark, path, *, file_format="csv", **changes):
    arguments = {**COLUMNS, "domain_values": {"shop": ""}, **changes}
    return read_catalogue(spark, where="domains.shop.catalogue", path=str(path), file_format=file_format, **arguments)


def test_attributes_are_parsed_and_what_cannot_be_is_left_out(spark, tmp_path):
    path = tmp_path / "items.csv.gz"
    lines = ['i1,"Tea, green",fine leaf,food| drink|food,2.5,heavy,a|b,x', "i2,,,,,,,"]
    path.write_bytes(gzip.compress((HEADER + "\n".join(lines)).encode()))
    tea, bare = sorted(read(spark, path).collect(), key=lambda row: row.item_id)
    assert (tea.domain, tea.title, tea.text) == ("shop", "Tea, green", "Tea, green fine leaf")
    assert (tea.categories, tea.numerics, tea.labels) == (["food", "drink"], {"price": 2.5}, {"tags": ["a", "b"]})
    assert (bare.title, bare.text, bare.categories, bare.numerics, bare.labels) == (None, None, [], {}, {})


def test_lists_of_json_and_parquet_are_lists(spark, tmp_path):
    line = '{"id": 7, "name": "n", "about": "a b", "kinds": ["x|y", "z"], "price": 1, "weight": "NaN", "tags": "p q"}'
    (tmp_path / "items.jsonl").write_text(line)
    row = read(spark, tmp_path / "items.jsonl", file_format="jsonl", separator="").first()
    assert (row.item_id, row.categories, row.labels) == ("7", ["x|y", "z"], {"tags": ["p", "q"]})
    assert row.numerics == {"price": 1.0}
    typed = "select 7 id, 'n' name, array('a', 'b') about, array('x|y') kinds, 1 price, 2 weight, array(5) tags"
    spark.sql(typed).write.parquet(str(tmp_path / "items"))
    row = read(spark, tmp_path / "items", file_format="parquet").first()
    assert (row.item_id, row.text, row.categories, row.labels) == ("7", "n a b", ["x|y"], {"tags": ["5"]})
    assert row.numerics == {"price": 1.0, "weight": 2.0}


def test_shared_catalogue_gives_each_item_once_whatever_the_order(spark, tmp_path):
    lines = ["i1,first,,,,,,F", "i1,second,,,,,,F", "i1,,,,,,,F", "i1,book,,,,,,B", "i9,lost,,,,,,Z", ",no,,,,,,F", "x"]
    picked = []
    for name, order in (("a.csv", lines), ("b.csv", lines[::-1])):
        (tmp_path / name).write_text(HEADER + "\n".join(order))
        items = read(spark, tmp_path / name, domain_column="shop", domain_values={"films": "F", "books": "B"})
        picked.append(sorted((row.domain, row.item_id, row.title) for row in items.collect()))
    check_plan(items)
    assert picked[0] == picked[1]
    assert [row[:2] for row in picked[0]] == [("books", "i1"), ("films", "i1")]
    assert picked[0][1][2] in ("first", "second")


def test_catalogue_needs_only_its_id(spark, tmp_path):
    (tmp_path / "items.csv").write_text("id\ni1\n")
    bare = {"title": "", "text": [], "categories": "", "numerics": [], "labels": []}
    row = read(spark, tmp_path / "items.csv", **bare).first()
    assert row.asDict() == {
        "domain": "shop", "item_id": "i1", "title": None, "text": None, "categories": [], "numerics": {}, "labels": {},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"domains\.shop\.catalogue: .* has no column about, kinds"):
        read(spark, tmp_path / "items.csv")
