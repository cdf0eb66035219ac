"""Wide numeric blocks of items in, principal components as statistics out; applied from that table like any other.

The covariance is summed in Spark (d x d numbers per domain); only it comes to the driver. Measures are normalised
before, see ``normalise``; a missing value counts as the mean.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.normalise import COLUMN_KEY, STATISTICS_SCHEMA

MEAN, COMPONENT = "pca_mean", "pca:"


def fit_components(measures: DataFrame, *, dimensions: int) -> DataFrame:
    """The first ``dimensions`` principal components per domain and table, as statistics of the columns they weigh.

    ``measures`` holds normalised training rows with item_num. Statistic ``pca_mean`` of a column is its mean, ``pca:K``
    its weight in component K, from 1. A component's sign makes its largest weight positive.
    """
    means = measures.groupBy(*COLUMN_KEY).agg(F.mean(c.VALUE).alias("mean"), F.count(c.VALUE).alias("num_rows"))
    means = means.where(F.col("num_rows") > 0)
    sums = _to_products(measures, means).collect()
    rows = [row for group in _groups(means.orderBy(*COLUMN_KEY).collect()) for row in _fit(group, sums, dimensions)]
    return measures.sparkSession.createDataFrame(rows, STATISTICS_SCHEMA)


def to_component_measures(measures: DataFrame, statistics: DataFrame) -> DataFrame:
    """The components of each item as measures: columns pca_1, pca_2...

    ``measures`` as for ``fit_components``, all items; items without any value have no components.
    """
    means = statistics.where(F.col("statistic") == MEAN).select(*COLUMN_KEY, F.col("value").alias("mean"))
    weights = statistics.where(F.col("statistic").startswith(COMPONENT)).select(
        *COLUMN_KEY, F.replace("statistic", F.lit(":"), F.lit("_")).alias("component"), F.col("value").alias("weight")
    )
    parts = (
        measures.where(F.col(c.VALUE).isNotNull())
        .join(F.broadcast(means), on=list(COLUMN_KEY), how="inner")
        .join(F.broadcast(weights), on=list(COLUMN_KEY), how="inner")
    )
    total = F.sum((F.col(c.VALUE) - F.col("mean")) * F.col("weight")).alias(c.VALUE)
    by_component = parts.groupBy(c.DOMAIN, c.ITEM_NUM, "table_name", "component").agg(total)
    return by_component.withColumnRenamed("component", "column_name")


def _to_products(measures: DataFrame, means: DataFrame) -> DataFrame:
    """Sums over items of the products of two centred columns: domain, table_name, left, right, product."""
    centred = (
        measures.join(F.broadcast(means), on=list(COLUMN_KEY), how="inner")
        .withColumn("centred", F.coalesce(F.col(c.VALUE) - F.col("mean"), F.lit(0.0)))
        .groupBy(c.DOMAIN, "table_name", c.ITEM_NUM)
        .agg(F.collect_list(F.struct(F.col("column_name").alias("name"), "centred")).alias("block"))
    )
    left = centred.withColumn("left", F.explode("block")).withColumn("right", F.explode("block"))
    return (
        left.groupBy(c.DOMAIN, "table_name", F.col("left.name").alias("left"), F.col("right.name").alias("right"))
        .agg(F.sum(F.col("left.centred") * F.col("right.centred")).alias("product"))
    )  # fmt: skip


def _groups(means: Sequence[Row]) -> list[list[Row]]:
    """The rows of each domain and table, in order."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in means:
        groups.setdefault((row[c.DOMAIN], row["table_name"]), []).append(row)
    return list(groups.values())


def _fit(means: Sequence[Row], sums: Sequence[Row], dimensions: int) -> list[tuple[str, str, str, str, float, int]]:
    domain, table_name = means[0][c.DOMAIN], means[0]["table_name"]
    place = {row["column_name"]: index for index, row in enumerate(means)}
    covariance_DD = np.zeros((len(means), len(means)))
    for row in sums:
        if (row[c.DOMAIN], row["table_name"]) == (domain, table_name):
            covariance_DD[place[row["left"]], place[row["right"]]] = row["product"]
    weights_DK = _components(covariance_DD, min(dimensions, len(means)))
    rows = []
    for index, row in enumerate(means):
        key = (domain, table_name, row["column_name"])
        rows.append((*key, MEAN, float(row["mean"]), row["num_rows"]))
        for number, weight in enumerate(weights_DK[index], 1):
            rows.append((*key, f"{COMPONENT}{number}", float(weight), row["num_rows"]))
    return rows


def _components(covariance_DD: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Eigenvectors of the largest eigenvalues as columns, [D, K]."""
    _, vectors_DD = np.linalg.eigh(covariance_DD)
    weights_DK = vectors_DD[:, ::-1][:, :dimensions]
    largest = np.abs(weights_DK).argmax(axis=0)
    return weights_DK * np.sign(weights_DK[largest, np.arange(dimensions)])
