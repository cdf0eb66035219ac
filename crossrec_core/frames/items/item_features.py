"""Catalogue rows and seen items in, one row of attributes per item of a domain out."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c

_KEY = (c.DOMAIN, c.ITEM_NUM)


def to_item_features(listed: DataFrame, seen: DataFrame, item_ids: DataFrame) -> DataFrame:
    """Every item that a domain's catalogue lists or its log has seen, once.

    ``listed`` is the catalogue with item_num, an item once; ``seen`` has domain and item_num, repeats allowed. Items
    that are not listed have null title and text and empty attributes.
    """
    items = listed.drop(c.ITEM_ID).join(seen.select(*_KEY).distinct(), on=list(_KEY), how="full")
    return items.join(item_ids.select(c.ITEM_NUM, c.ITEM_ID), on=c.ITEM_NUM, how="inner").select(
        *_KEY,
        c.ITEM_ID,
        c.TITLE,
        c.TEXT,
        F.coalesce(c.CATEGORIES, F.expr("cast(array() as array<string>)")).alias(c.CATEGORIES),
        F.coalesce(c.NUMERICS, F.expr("cast(map() as map<string,double>)")).alias(c.NUMERICS),
        F.coalesce(c.LABELS, F.expr("cast(map() as map<string,array<string>>)")).alias(c.LABELS),
    )
