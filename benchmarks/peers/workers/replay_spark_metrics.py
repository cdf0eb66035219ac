"""Ranking metrics by RePlay on Spark, in the session it makes itself: measured once per line of stdin."""

import os

from answers import answer, read_problem

problem = read_problem()
for name in ("SPARK_CONF_DIR", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):  # the product's
    os.environ.pop(name, None)

from replay.utils.session_handler import get_spark_session
from replay_metrics import make_metrics, named

spark = get_spark_session(spark_memory=problem.memory_gib, core_count=problem.cores)


def measure() -> dict[str, float]:
    lists = spark.read.parquet(str(problem.lists)).select("user_num", "item_num", "score")
    truth = spark.read.parquet(str(problem.truth)).select("user_num", "item_num")
    return named(make_metrics(problem.n)(lists, truth))


answer(measure)
