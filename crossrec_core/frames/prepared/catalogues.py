"""Item catalogues in, items out."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StructType
from pyspark.sql.window import Window as W

from crossrec_core import columns as c
from crossrec_core.frames.logs.sources import CELLS, IS_CORRUPT, cell, domain_of, is_blank, read_rows


def read_catalogue(
    spark: SparkSession,
    *,
    where: str,
    path: str,
    file_format: str,
    item_id: str,
    title: str,
    text: list[str],
    categories: str,
    separator: str,
    numerics: list[str],
    labels: list[str],
    domain_values: Mapping[str, str],
    domain_column: str = "",
) -> DataFrame:
    """Read an item catalogue into items, one row per (domain, item_id): domain, item_id, title, text, categories
    array<string>, numerics map<string,double>, labels map<string,array<string>>.

    ``domain_values`` says what ``domain_column`` holds for each domain; without that column there is exactly one
    domain. Rows of other domains, corrupt rows and rows without an item id are left out, as are numbers that cannot be
    parsed and empty label lists. Of an item's repeated rows one with a title is kept, then the lowest hash.

    Raises:
        InputError: nothing at the path, an empty or unreadable file, a missing column, a wrong delimiter or format.
    """  # fmt: skip
    named = {item_id, title, *text, categories, *numerics, *labels, domain_column} - {""}
    rows = read_rows(spark, where=where, path=path, file_format=file_format, needed=sorted(named))
    lists = {name: _tidy(_listed(rows, name, separator)) for name in [categories, *labels] if name}
    items = rows.where(~F.col(IS_CORRUPT) & ~is_blank(cell(item_id))).select(
        domain_of(domain_column, domain_values).alias(c.DOMAIN),
        cell(item_id).alias(c.ITEM_ID),
        _filled(cell(title)).alias(c.TITLE),
        _filled(F.concat_ws(" ", *[_joined(rows, name) for name in text])).alias(c.TEXT),
        lists.get(categories, _tidy(F.lit(None).cast("array<string>"))).alias(c.CATEGORIES),
        _numbers(numerics).alias(c.NUMERICS),
        _label_lists({name: lists[name] for name in labels}).alias(c.LABELS),
        c.RAW_TEXT,
    )
    return _keep_one(items.where(F.col(c.DOMAIN).isNotNull()))


def _keep_one(items: DataFrame) -> DataFrame:
    """One row per (domain, item_id), the same whatever the order of the rows."""
    order = (F.col(c.TITLE).isNull(), F.xxhash64(c.RAW_TEXT), F.col(c.RAW_TEXT))
    by_item = W.partitionBy(c.DOMAIN, c.ITEM_ID).orderBy(*order)
    return items.withColumn("place", F.row_number().over(by_item)).where("place = 1").drop("place", c.RAW_TEXT)


def _is_list(rows: DataFrame, name: str) -> bool:
    cells = rows.schema[CELLS].dataType
    assert isinstance(cells, StructType)
    return isinstance(cells[name].dataType, ArrayType)


def _listed(rows: DataFrame, name: str, separator: str) -> Column:
    """A multi-valued cell as array<string>: a list of the format, a JSON list, or text split at the separator."""
    if _is_list(rows, name):
        return F.col(CELLS).getField(name).cast("array<string>")
    values = cell(name)
    json_list = F.from_json(F.when(values.startswith("["), values), "array<string>")
    return F.coalesce(json_list, F.split(values, rf"\Q{separator}\E" if separator else r"\s+"))


def _joined(rows: DataFrame, name: str) -> Column:
    """A cell as one text; null if blank."""
    is_list = _is_list(rows, name)
    return _filled(F.array_join(F.col(CELLS).getField(name).cast("array<string>"), " ") if is_list else cell(name))


def _tidy(values: Column) -> Column:
    """The distinct values without white space around them and without blanks; empty if null."""
    trimmed = F.filter(F.transform(values, lambda value: F.trim(value)), lambda value: ~is_blank(value))
    return F.coalesce(F.array_distinct(trimmed), F.array().cast("array<string>"))


def _filled(text: Column) -> Column:
    return F.when(~is_blank(text), text)


def _numbers(names: list[str]) -> Column:
    """map name -> number; what is no finite number is left out."""
    numbers = F.map_from_arrays(
        F.array(*[F.lit(name) for name in names]).cast("array<string>"),
        F.array(*[cell(name).try_cast("double") for name in names]).cast("array<double>"),
    )
    limit = F.lit(float("inf"))
    return F.map_filter(numbers, lambda _, number: number.isNotNull() & (F.abs(number) < limit))


def _label_lists(lists: Mapping[str, Column]) -> Column:
    """map name -> values; empty lists are left out."""
    labels = F.map_from_arrays(
        F.array(*[F.lit(name) for name in lists]).cast("array<string>"),
        F.array(*lists.values()).cast("array<array<string>>"),
    )
    return F.map_filter(labels, lambda _, values: F.size(values) > 0)
