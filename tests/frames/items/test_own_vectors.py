import pytest

from crossrec_core.errors import InputError
from crossrec_core.frames.items.own_vectors import check_vectors, count_unknown, read_own_vectors, to_own_vectors

pytestmark = pytest.mark.spark

WHERE = "domains.a.catalogue.vectors"
SCHEMA = "domain string, item_id string, vector array<float>"


def read(spark, path):
    return read_own_vectors(spark, where=WHERE, path=str(path), item_id="asin")


def test_vectors_of_any_number_type_are_read(spark, tmp_path):
    rows = spark.createDataFrame([("x", [1.0, 2.0]), (None, [3.0, 4.0])], "asin string, vector array<double>")
    rows.write.parquet(str(tmp_path / "v"))
    found = read(spark, tmp_path / "v")
    assert found.schema["vector"].dataType.simpleString() == "array<float>"
    assert [tuple(row) for row in found.collect()] == [("x", [1.0, 2.0])]


def test_what_is_no_parquet_of_vectors_is_one_line(spark, tmp_path):
    with pytest.raises(InputError, match=rf"{WHERE}: no file at"):
        read(spark, tmp_path / "nothing")
    (tmp_path / "v.csv").write_text("asin,vector\nx,1\n")
    with pytest.raises(InputError, match=rf"{WHERE}: .*v\.csv starts with b'asin'; expected Parquet"):
        read(spark, tmp_path / "v.csv")
    spark.createDataFrame([("x", "1 2")], "asin string, vector string").write.parquet(str(tmp_path / "text"))
    with pytest.raises(InputError, match=rf"{WHERE}: column vector of .* is string; expected a list of numbers"):
        read(spark, tmp_path / "text")
    spark.createDataFrame([("x", [1.0])], "id string, vector array<float>").write.parquet(str(tmp_path / "other"))
    with pytest.raises(InputError, match=rf"{WHERE}: .*asin"):
        read(spark, tmp_path / "other")


def test_vectors_of_two_widths_name_an_item_of_each(spark):
    vectors = spark.createDataFrame([("a", "x", [1.0, 2.0]), ("b", "y", [1.0]), ("a", "z", [1.0, 2.0])], SCHEMA)
    with pytest.raises(InputError, match=r"item y \(b\) has 1 dimensions and item z \(a\) 2; expected one width"):
        check_vectors(vectors, where=[WHERE])
    assert check_vectors(vectors.where("domain = 'a'"), where=[WHERE]) == 2
    assert check_vectors(vectors.where("domain = 'c'"), where=[WHERE]) is None


@pytest.mark.parametrize("bad", [None, [1.0, None], [float("nan"), 1.0], [1.0, float("-inf")]])
def test_what_is_no_finite_number_names_its_item(spark, bad):
    vectors = spark.createDataFrame([("a", "w", [1.0, 2.0]), ("a", "x", bad)], SCHEMA)
    with pytest.raises(InputError, match=r"the vector of item x \(a\) is null or holds a value that is no finite"):
        check_vectors(vectors, where=[WHERE])


def test_known_items_get_their_vector_once_and_strangers_are_counted(spark):
    rows = [("a", "x", [1.0]), ("a", "x", [2.0]), ("b", "x", [3.0]), ("a", "stranger", [4.0])]
    vectors = spark.createDataFrame(rows, SCHEMA)
    features = spark.createDataFrame(
        [("a", "x", 1), ("b", "x", 2), ("b", "y", 3)], "domain string, item_id string, item_num bigint"
    )
    found = {row.item_num: row.vector for row in to_own_vectors(vectors, features).collect()}
    again = {row.item_num: row.vector for row in to_own_vectors(vectors.repartition(3), features).collect()}
    assert found == again
    assert found[2] == [3.0]
    assert found[1] in ([1.0], [2.0])
    assert set(found) == {1, 2}
    assert [tuple(row) for row in count_unknown(vectors, features).collect()] == [("a", 1)]
