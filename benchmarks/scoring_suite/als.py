"""A scene in, lists by Spark ALS out, as its users make them: a floor for the whole job (IO)."""

from pathlib import Path

from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.scoring_suite.scene import Scene
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.spark.storage import read_table


def fit_als(scene: Scene, rank: int) -> ALSModel:
    """One sweep: as with ours, weights change no one's speed."""
    als = ALS(userCol=c.USER_NUM, itemCol=c.ITEM_NUM, ratingCol=c.WEIGHT, rank=rank, maxIter=1, implicitPrefs=True)
    model: ALSModel = als.fit(read_events(scene))
    for factors in (model.userFactors, model.itemFactors):
        factors.cache().count()
    return model


def read_events(scene: Scene) -> DataFrame:
    """user_num, item_num, weight."""
    rows = read_table(scene.spark, scene.night.lake, t.SPLIT_INTERACTIONS, run_id=scene.night.run_id)
    return rows.select(F.col(c.USER_NUM).cast("int"), F.col(c.ITEM_NUM).cast("int"), c.WEIGHT)


def list_by_als(scene: Scene, als: ALSModel, n: int, folder: Path) -> None:
    """As its users do it: enough items that the best unseen ones are among them, then the seen ones taken out."""
    events = read_events(scene)
    most_seen = events.groupBy(c.USER_NUM).count().agg(F.max("count")).collect()[0][0]
    listed = als.recommendForUserSubset(events.select(c.USER_NUM).distinct(), n + most_seen)
    scored = listed.select(c.USER_NUM, F.posexplode("recommendations").alias("place", "found"))
    unseen = scored.select(
        c.USER_NUM, "place", F.col("found")[c.ITEM_NUM].alias(c.ITEM_NUM), F.col("found")["rating"].alias(c.SCORE)
    ).join(events.select(c.USER_NUM, c.ITEM_NUM), on=[c.USER_NUM, c.ITEM_NUM], how="left_anti")
    best = unseen.groupBy(c.USER_NUM).agg(
        F.slice(F.array_sort(F.collect_list(F.struct("place", c.ITEM_NUM, c.SCORE))), 1, n).alias("found")
    )
    rows = best.select(c.USER_NUM, F.posexplode("found").alias(c.RANK, "found"))
    rows.select(c.USER_NUM, c.RANK, f"found.{c.ITEM_NUM}", f"found.{c.SCORE}").write.mode("overwrite").parquet(
        str(folder)
    )
