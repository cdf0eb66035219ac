"""Known events and item categories in, each user's decayed interest per domain and category out."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.splits import DAY_US


def to_user_profiles(
    events: DataFrame, item_features: DataFrame, *, order_only: Sequence[str], half_life_days: float
) -> DataFrame:
    """Per user, domain and category: the share of the user's decayed event weight; shares of a domain sum to 1.

    An event counts weight * 0.5^(age / half life), its age being the time to the user's latest event in the domain (in
    positions for order-only logs, a position counting as a day); an item of several categories splits it evenly. Events
    of items without categories do not count. A half life of 0 switches decay off.
    """
    own = W.partitionBy(c.USER_NUM, c.DOMAIN)
    age = F.max(c.EVENT_ORDER).over(own) - F.col(c.EVENT_ORDER)
    is_order_only = F.col(c.DOMAIN).isin(*order_only) if order_only else F.lit(False)
    age_days = age / F.when(is_order_only, 1.0).otherwise(float(DAY_US))
    decay = F.pow(F.lit(0.5), age_days / half_life_days) if half_life_days else F.lit(1.0)
    items = item_features.where(F.size(c.CATEGORIES) > 0).select(c.DOMAIN, c.ITEM_NUM, c.CATEGORIES)
    interest = (
        events.select(c.DOMAIN, c.USER_NUM, c.ITEM_NUM, (F.col(c.WEIGHT) * decay).alias("amount"))
        .join(items, on=[c.DOMAIN, c.ITEM_NUM], how="inner")
        .withColumn("amount", F.col("amount") / F.size(c.CATEGORIES))
        .withColumn(c.CATEGORY, F.explode(c.CATEGORIES))
        .groupBy(c.USER_NUM, c.DOMAIN, c.CATEGORY)
        .agg(F.sum("amount").alias("amount"))
        .where(F.col("amount") > 0)
    )
    return interest.withColumn(c.SHARE, F.col("amount") / F.sum("amount").over(own)).drop("amount")
