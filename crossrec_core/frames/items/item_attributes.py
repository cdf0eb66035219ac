"""item_features in; the attribute values worth learning, numbered, and each item's numbers out.

An attribute value is a category, a label or the bucket that a number falls into. Which values there are, how often, and
where buckets end is learned from training items alone. Categories are names for people and mean the same in all
domains; labels and numbers are a domain's own (ids of two shops may collide, prices differ).
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.numbering import with_position

CATEGORY_KIND, EVERY_DOMAIN = "category", ""
VALUE_KEY = (c.DOMAIN, c.KIND, c.LABEL_NAME)
_CUTS = "_cuts"


def to_attribute_values(item_features: DataFrame, training_items: DataFrame, *, number_buckets: int) -> DataFrame:
    """Every value of every item: item_num, domain ('' for categories), kind, label_name; an item's value once.

    item_num  domain  categories  numerics      labels                item_num  domain  kind          label_name
    1         a       [Tea]       {price: 3.0}  {brand: [Ko, Lo]} ->  1                 category      Tea
                                                                      1         a       number:price  4
                                                                      1         a       label:brand   Ko
                                                                      1         a       label:brand   Lo
    """
    categories = item_features.select(
        c.ITEM_NUM, F.lit(EVERY_DOMAIN).alias(c.DOMAIN), F.lit(CATEGORY_KIND).alias(c.KIND),
        F.explode(c.CATEGORIES).alias(c.LABEL_NAME),
    )  # fmt: skip
    listed = item_features.select(c.ITEM_NUM, c.DOMAIN, F.explode(c.LABELS).alias("name", "values"))
    labels = listed.select(
        c.ITEM_NUM, c.DOMAIN, F.concat(F.lit("label:"), "name").alias(c.KIND), F.explode("values").alias(c.LABEL_NAME)
    )
    numbers = _to_buckets(item_features, training_items, number_buckets=number_buckets)
    return categories.unionByName(labels).unionByName(numbers).distinct()


def number_attributes(values: DataFrame, training_items: DataFrame, *, min_items: int) -> DataFrame:
    """Number the values that at least ``min_items`` training items have, from 1 in hash order.

    Returns:
        domain, kind, label_name, attribute_num, num_items.
    """
    counted = (
        values.join(training_items, on=c.ITEM_NUM, how="left_semi")
        .groupBy(*VALUE_KEY)
        .agg(F.count(F.lit(1)).alias(c.NUM_ITEMS))
        .where(F.col(c.NUM_ITEMS) >= min_items)
    )
    placed = with_position(counted, within=[], by=list(VALUE_KEY), position=c.ATTRIBUTE_NUM)
    return placed.withColumn(c.ATTRIBUTE_NUM, F.col(c.ATTRIBUTE_NUM) + 1)


def to_item_attributes(values: DataFrame, attribute_ids: DataFrame, *, max_per_item: int) -> DataFrame:
    """The numbered values of each item: item_num, attribute_nums (at most ``max_per_item``), weights.

    The most frequent values are kept, ties by number. A weight is 1 / how many kept values of its kind the item has.
    """
    entry = F.struct(
        (-F.col(c.NUM_ITEMS)).alias("order"), F.col(c.ATTRIBUTE_NUM), F.struct(c.DOMAIN, c.KIND).alias("kind")
    )
    entries = F.slice(F.sort_array(F.collect_list(entry)), 1, max_per_item)
    kept = values.join(attribute_ids, on=list(VALUE_KEY), how="inner").groupBy(c.ITEM_NUM).agg(entries.alias("kept"))

    def weight(one: Column) -> Column:
        return F.lit(1.0) / F.size(F.filter("kept", lambda other: other["kind"] == one["kind"]))

    return kept.select(
        c.ITEM_NUM,
        F.col(f"kept.{c.ATTRIBUTE_NUM}").alias(c.ATTRIBUTE_NUMS),
        F.transform("kept", weight).cast("array<float>").alias(c.WEIGHTS),
    )


def _to_buckets(item_features: DataFrame, training_items: DataFrame, *, number_buckets: int) -> DataFrame:
    """Numbers as buckets of equal frequency among training items; item_num, domain, kind, label_name."""
    numbers = item_features.select(c.ITEM_NUM, c.DOMAIN, F.explode(c.NUMERICS).alias("name", c.VALUE))
    numbers = numbers.where(F.col(c.VALUE).isNotNull())
    shares = F.array(*[F.lit(step / number_buckets) for step in range(1, number_buckets)])
    cuts = (
        numbers.join(training_items, on=c.ITEM_NUM, how="left_semi")
        .groupBy(c.DOMAIN, "name")
        .agg(F.array_distinct(F.percentile(c.VALUE, shares)).alias(_CUTS))
    )
    bucket = F.size(F.filter(_CUTS, lambda cut: cut < F.col(c.VALUE)))
    return numbers.join(F.broadcast(cuts), on=[c.DOMAIN, "name"], how="inner").select(
        c.ITEM_NUM,
        c.DOMAIN,
        F.concat(F.lit("number:"), "name").alias(c.KIND),
        bucket.cast("string").alias(c.LABEL_NAME),
    )
