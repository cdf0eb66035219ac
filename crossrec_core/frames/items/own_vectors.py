"""A user's own Parquet of item vectors in, checked vectors by item number out."""

from collections.abc import Sequence

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, NumericType

from crossrec_core import columns as c
from crossrec_core.errors import InputError
from crossrec_core.frames.logs.raw_files import check_columns, check_parquet, list_files

UNKNOWN_ITEMS = "vectors_of_unknown_items"


def read_own_vectors(spark: SparkSession, *, where: str, path: str, item_id: str) -> DataFrame:
    """Read vectors of one domain's items: item_id, vector array<float>. Rows without an item id are left out.

    ``item_id`` names the id's column; the vectors are in the column ``vector``. ``where`` names the setting in errors.

    Raises:
        InputError: nothing at the path, no Parquet, a missing column, or one of another type.
    """
    files = list_files(spark, path, where=where)
    check_parquet(spark, files, where=where)
    try:
        rows = spark.read.parquet(*files)
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{where}: cannot read {path} ({str(error).splitlines()[0]}); write the file again") from error
    check_columns(rows.columns, [item_id, c.VECTOR], where=where, path=files[0])
    kind = rows.schema[c.VECTOR].dataType
    if not (isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType)):
        raise InputError(
            f"{where}: column {c.VECTOR} of {path} is {kind.simpleString()}; expected a list of numbers per item; "
            "write it as list<float>"
        )
    return rows.where(F.col(f"`{item_id}`").isNotNull()).select(
        F.col(f"`{item_id}`").cast("string").alias(c.ITEM_ID), F.col(c.VECTOR).cast("array<float>").alias(c.VECTOR)
    )


def check_vectors(vectors: DataFrame, *, where: Sequence[str]) -> int | None:
    """Check that all vectors (domain, item_id, vector) have one width and finite numbers; returns it, None for none.

    Raises:
        InputError: vectors of two widths, or one with a null, NaN or infinite number; names an item.
    """
    is_bad = F.col(c.VECTOR).isNull() | F.exists(
        c.VECTOR, lambda value: value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))
    )
    width, key = F.size(c.VECTOR), F.struct(c.DOMAIN, c.ITEM_ID)
    found = vectors.agg(
        F.min(width).alias("low"), F.max(width).alias("high"), F.min(F.when(is_bad, key)).alias("bad"),
        F.min_by(key, F.struct(width, key)).alias("narrow"), F.max_by(key, F.struct(width, key)).alias("wide"),
    ).collect()[0]  # fmt: skip
    at = ", ".join(where)
    if found["bad"] is not None:
        raise InputError(
            f"{at}: the vector of item {found['bad'][c.ITEM_ID]} ({found['bad'][c.DOMAIN]}) is null or holds a value "
            "that is no finite number; expected numbers only; mend it or leave the item out"
        )
    if found["low"] != found["high"]:
        narrow, wide = found["narrow"], found["wide"]
        raise InputError(
            f"{at}: item {narrow[c.ITEM_ID]} ({narrow[c.DOMAIN]}) has {found['low']} dimensions and item "
            f"{wide[c.ITEM_ID]} ({wide[c.DOMAIN]}) {found['high']}; expected one width in all domains; "
            "encode all items with one model"
        )
    return None if found["low"] is None else int(found["low"])


def to_own_vectors(vectors: DataFrame, item_features: DataFrame) -> DataFrame:
    """Vectors (domain, item_id, vector) of known items: rows (item_num, vector), an item once.

    Of an item's repeated vectors the one of the lowest hash is kept, whatever the order of the rows.
    """
    known = item_features.select(c.DOMAIN, c.ITEM_ID, c.ITEM_NUM)
    numbered = vectors.join(known, on=[c.DOMAIN, c.ITEM_ID], how="inner")
    lowest = F.min_by(c.VECTOR, F.struct(F.xxhash64(c.VECTOR), F.col(c.VECTOR)))
    return numbered.groupBy(c.ITEM_NUM).agg(lowest.alias(c.VECTOR))


def count_unknown(vectors: DataFrame, item_features: DataFrame) -> DataFrame:
    """Rows of vectors whose item neither catalogue nor log has: domain, num_items."""
    known = item_features.select(c.DOMAIN, c.ITEM_ID)
    strangers = vectors.join(known, on=[c.DOMAIN, c.ITEM_ID], how="left_anti")
    return strangers.groupBy(c.DOMAIN).agg(F.count(F.lit(1)).alias(c.NUM_ITEMS))
