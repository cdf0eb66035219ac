"""Known events of domains whose values say what is liked in, ratings and likes of each user or item out."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.spark.lookups import lookup


def to_likes(known: DataFrame, by: str, *, positive_values: Mapping[str, float]) -> DataFrame:
    """Per purpose, domain and ``by`` (user_num or item_num): known events with a value, and how many are likes.

    user  item  value             user_num  num_rated  num_likes
    7     a     5                 7         2          1
    7     b     3          ->     8         1          1            (by user_num; positive_values = {"films": 4})
    8     b     4
    8     c     null

    Values are as they were logged. Events of domains that ``positive_values`` does not name, and events without a
    value, count nowhere; who has none has no row. Whole numbers: the same in whatever order they are added.
    """
    is_rated = F.col(c.DOMAIN).isin(*positive_values) & F.col(c.VALUE).isNotNull()
    is_liked = F.col(c.VALUE) >= lookup(positive_values, c.DOMAIN)
    return (
        known.where(is_rated)
        .groupBy(c.PURPOSE, c.DOMAIN, by)
        .agg(F.count(F.lit(1)).alias(c.NUM_RATED), F.sum(is_liked.cast("bigint")).alias(c.NUM_LIKES))
    )
