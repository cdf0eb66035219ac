"""Training rows in, fitted statistics out; statistics and numbers in, filled, clipped and scaled numbers out.

Numbers travel as *measures*: domain, table_name, column_name, value (null = missing), one row per number. Whatever is
fitted is fitted on training rows only, kept as the table feature_statistics, and applied from that table:

    value -> fill -> clip to [low, high] -> log1p if fitted so -> (value - centre) / scale

The logarithm keeps the sign: sign(x) * log(1 + |x|).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.spark.lookups import lookup
from crossrec_core.tables import INTERACTIONS, ITEM_FEATURES

COLUMN_KEY = (c.DOMAIN, "table_name", "column_name")
FILL, LOW, HIGH, LOG1P, CENTRE, SCALE = STATISTICS = ("fill", "low", "high", "log1p", "centre", "scale")
MISSING_VALUE = "missing_value"
STATISTICS_SCHEMA = (
    "domain string, table_name string, column_name string, statistic string, value double, num_rows bigint"
)


class Completed(NamedTuple):
    """Rows with a value, and rows without one."""

    kept: DataFrame
    rejected: DataFrame


def split_missing(interactions: DataFrame, *, domains: Sequence[str]) -> Completed:
    """Part the interactions of ``domains`` that lack their value from all others: fill = drop."""
    is_missing = F.col(c.DOMAIN).isin(*domains) & F.col(c.VALUE).isNull() if domains else F.lit(False)
    as_read = F.struct(c.USER_ID, c.ITEM_ID, c.ACTION, c.EVENT_ORDER)
    rejected = interactions.where(is_missing).select(
        c.DOMAIN,
        F.lit(MISSING_VALUE).alias(c.REASON),
        F.lit(None).cast("string").alias(c.SOURCE_FILE),
        F.to_json(as_read).alias(c.RAW_TEXT),
    )
    return Completed(interactions.where(~is_missing), rejected)


def to_value_measures(events: DataFrame, *, domains: Sequence[str]) -> DataFrame:
    """The value of each event of ``domains``, as measures with all the event's columns beside them."""
    named = events.where(F.col(c.DOMAIN).isin(*domains)) if domains else events.where(F.lit(False))
    return _named(named, INTERACTIONS.name, F.lit(c.VALUE))


def to_numeric_measures(items: DataFrame, *, columns: Mapping[str, Sequence[str]]) -> DataFrame:
    """Each numeric attribute that a domain's catalogue declares, missing ones included: measures with item_num.

    ``items`` has domain, item_num and numerics; ``columns`` names the attributes per domain.
    """
    declared = {domain: names for domain, names in columns.items() if names} or {"": [""]}
    exploded = items.where(F.col(c.DOMAIN).isin(*declared)).select(
        c.DOMAIN, c.ITEM_NUM, c.NUMERICS, F.explode(lookup(declared, c.DOMAIN)).alias("_name")
    )
    valued = exploded.withColumn(c.VALUE, F.col(c.NUMERICS)[F.col("_name")])
    return _named(valued, ITEM_FEATURES.name, F.col("_name")).drop("_name", c.NUMERICS)


def fit_statistics(
    measures: DataFrame,
    *,
    fill: str,
    outliers: str,
    low_quantile: float,
    high_quantile: float,
    iqr_factor: float,
    scaling: str,
) -> DataFrame:
    """Fit what ``with_normalised`` applies, per domain, table and column: domain, table_name, column_name, statistic,
    value, num_rows.

    ``measures`` holds training rows only. ``fill``: mean, median, mode (the smallest of equally frequent values), or
    drop / none, which leave missing values missing. ``outliers``: quantile, iqr (quartiles -+ factor * range), none.
    ``scaling``: standard, minmax, log1p_standard, none; fitted on filled and clipped values, a constant column by 1.
    Quantiles are exact. Columns without any value get no statistics.
    """  # fmt: skip
    value = F.nanvl(c.VALUE, F.lit(None).cast("double"))
    bounds = (
        measures.groupBy(*COLUMN_KEY)
        .agg(
            F.count(value).alias("num_rows"),
            _fill(value, fill).alias(FILL),
            *_bounds(value, outliers, (low_quantile, high_quantile), iqr_factor),
            F.lit(1.0 if scaling == "log1p_standard" else None).cast("double").alias(LOG1P),
        )
        .where(F.col("num_rows") > 0)
    )
    bounded = measures.join(F.broadcast(bounds), on=list(COLUMN_KEY), how="inner").withColumn(c.VALUE, _bounded())
    scales = bounded.groupBy(*COLUMN_KEY).agg(*_scales(F.col(c.VALUE), scaling))
    wide = bounds.join(scales, on=list(COLUMN_KEY), how="inner")
    pairs = F.array(*[F.struct(F.lit(name).alias("statistic"), F.col(name).alias("value")) for name in STATISTICS])
    long = wide.select(*COLUMN_KEY, F.inline(pairs), "num_rows")
    return long.where(F.col("value").isNotNull()).select(*COLUMN_KEY, "statistic", "value", "num_rows")


def with_normalised(measures: DataFrame, statistics: DataFrame) -> DataFrame:
    """Replace each value by its normalised one; columns without statistics stay as they are.

    value  fill  low  high  centre  scale         value
    null   3     -    5     3       2        ->   0
    9      3     -    5     3       2             1
    """
    one = {name: F.max(F.when(F.col("statistic") == name, F.col("value"))) for name in STATISTICS}
    wide = statistics.groupBy(*COLUMN_KEY).agg(*[value.alias(name) for name, value in one.items()])
    scaled = (_bounded() - F.coalesce(CENTRE, F.lit(0.0))) / F.coalesce(SCALE, F.lit(1.0))
    joined = measures.join(F.broadcast(wide), on=list(COLUMN_KEY), how="left")
    return joined.withColumn(c.VALUE, scaled).drop(*STATISTICS)


def to_numerics(measures: DataFrame) -> DataFrame:
    """Measures of items back to a map: domain, item_num, numerics. Missing values have no entry."""
    entries = F.sort_array(F.collect_list(F.struct("column_name", c.VALUE)))
    present = measures.where(F.col(c.VALUE).isNotNull())
    return present.groupBy(c.DOMAIN, c.ITEM_NUM).agg(F.map_from_entries(entries).alias(c.NUMERICS))


def _named(rows: DataFrame, table_name: str, column_name: Column) -> DataFrame:
    return rows.withColumn("table_name", F.lit(table_name)).withColumn("column_name", column_name)


def _fill(value: Column, fill: str) -> Column:
    fills = {"mean": F.mean(value), "median": F.percentile(value, F.lit(0.5)), "mode": F.mode(value, True)}
    return fills.get(fill, F.max(F.lit(None).cast("double")))


def _bounds(value: Column, outliers: str, quantiles: tuple[float, float], iqr_factor: float) -> list[Column]:
    if outliers == "none":
        low = high = F.max(F.lit(None).cast("double"))
    elif outliers == "quantile":
        low, high = (F.percentile(value, F.lit(quantile)) for quantile in quantiles)
    else:
        first, third = (F.percentile(value, F.lit(quantile)) for quantile in (0.25, 0.75))
        low, high = first - iqr_factor * (third - first), third + iqr_factor * (third - first)
    return [low.alias(LOW), high.alias(HIGH)]


def _bounded() -> Column:
    """The value filled, clipped and taken to the logarithm, by the statistics beside it; null bounds do nothing."""
    filled = F.coalesce(F.nanvl(c.VALUE, F.lit(None).cast("double")), F.col(FILL))
    clipped = F.when(filled.isNotNull(), F.least(F.greatest(filled, F.col(LOW)), F.col(HIGH)))
    return F.when(F.col(LOG1P).isNotNull(), F.signum(clipped) * F.log1p(F.abs(clipped))).otherwise(clipped)


def _scales(value: Column, scaling: str) -> list[Column]:
    if scaling == "none":
        centre = scale = F.max(F.lit(None).cast("double"))
    elif scaling == "minmax":
        centre, scale = F.min(value), F.max(value) - F.min(value)
    else:
        centre, scale = F.mean(value), F.stddev_pop(value)
    return [centre.alias(CENTRE), F.when(scale > 0, scale).otherwise(F.when(scale == 0, 1.0)).alias(SCALE)]
