"""Settings in, a SparkSession out. The only place that makes one."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

# What results, memory and speed depend on; a user's [spark.options] may add to these, and override them knowingly.
_OPTIONS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # What a step caches is read a few times and goes: finding how to compress it costs more than it saves
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.sources.commitProtocolClass": (
        "org.apache.spark.sql.execution.datasources.SQLHadoopMapReduceCommitProtocol"
    ),
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
# Where logs are small a plan takes longest to compile: the JVM's second compiler, which makes loops over many rows
# faster by a third, takes more time than it saves (docs/benchmarks.md). Only a JVM that starts here hears this, and
# behind it what extraJavaOptions say.
FOR_SMALL_LOGS = {"spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"}
_LARGEST_TABLE = "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold"


def start_session(
    name: str,
    *,
    master: str,
    driver_memory: str,
    shuffle_partitions: int,
    arrow_batch_rows: int,
    options: Mapping[str, str],
) -> SparkSession:
    """Start Spark, or take the session that spark-submit started.

    Workers run the Python of the driver unless PYSPARK_PYTHON says otherwise. With an empty ``master`` spark-submit
    decides. ``arrow_batch_rows`` bounds the rows of one pandas UDF batch.
    """
    if not {"SPARK_HOME", "SPARK_CONF_DIR"} & set(os.environ):  # pip's PySpark, which has no configuration of its own
        os.environ["SPARK_CONF_DIR"] = str(Path(__file__).parent / "conf")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if master and "spark.master" not in os.environ.get("PYSPARK_SUBMIT_ARGS", ""):
        builder = builder.master(master)
    merged = {
        **_OPTIONS,
        "spark.driver.memory": driver_memory,
        "spark.sql.shuffle.partitions": str(shuffle_partitions),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(arrow_batch_rows),
        **options,
    }
    for key, value in merged.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


@contextmanager
def hashed_joins(spark: SparkSession) -> Iterator[None]:
    """Join shuffled rows by hash table where each partition of one side is below 64 MB, instead of sorting both sides.

    Rows then come out in an order that differs from run to run: for results that do not depend on it.
    """
    before = str(spark.conf.get(_LARGEST_TABLE))
    spark.conf.set(_LARGEST_TABLE, "64m")
    try:
        yield
    finally:
        spark.conf.set(_LARGEST_TABLE, before)
