"""Tables of the lake in and out of Spark: staged Parquet, one atomic commit."""

import uuid

from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core.delta import WRITE_ID, Where, commit, found_files, live_files
from crossrec_core.frames.spark.contracts import conform, spark_schema
from crossrec_core.lake import Lake
from crossrec_core.tables import Table


def read_table(
    spark: SparkSession, lake: Lake, table: Table, *, run_id: str | None = None, where: Where | None = None
) -> DataFrame:
    """The rows of a table's latest version: one run's, or with ``run_id`` None every run's.

    ``where`` picks partition values. Only the files of that version are named to Spark, never a folder.
    """
    picked = {**(where or {}), **({c.RUN_ID: run_id} if run_id is not None else {})}
    files = live_files(lake, table, where=picked)
    schema = spark_schema(table)
    if not files:
        return spark.createDataFrame([], schema)
    root = lake.at(table.name)
    reader = spark.read.schema(schema).option("basePath", root)
    return reader.parquet(*[f"{root}/{file.path}" for file in files]).select(*table.column_names)


def write_table(
    frame: DataFrame, lake: Lake, table: Table, *,
    run_id: str, replace: Where | None = None, append: bool = False, since: int | None = None,
) -> int:  # fmt: skip
    """Write a run's rows as one commit that replaces what the run had there; returns how many rows were written.

    ``replace`` narrows what is replaced to some partition values of the run; ``append`` replaces nothing; ``since`` is
    that of ``delta.commit``. A kill before the commit leaves the table as it was.
    """
    write_id = uuid.uuid4().hex
    folder = f"{lake.at(table.name)}/{WRITE_ID}={write_id}"
    frame.sparkSession.sparkContext.setJobDescription(f"write {table.name}")  # what Spark's UI shows
    conform(frame, table).write.mode("errorifexists").partitionBy(*table.partition_by).parquet(folder)
    frame.sparkSession.sparkContext.setJobDescription("")
    files = found_files(lake, table, write_id)
    wrong = {file.partition_values[c.RUN_ID] for file in files} - {run_id}
    assert not wrong, f"{table.name}: rows of runs {wrong} in a write of run {run_id}"
    commit(lake, table, files, replace={**(replace or {}), c.RUN_ID: run_id}, append=append, since=since)
    return sum(file.num_rows for file in files)
