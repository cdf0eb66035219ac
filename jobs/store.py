"""A run and a lake in, tables as that run sees them out."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.spark.storage import read_table, write_table
from crossrec_core.tables import Table
from jobs.steps import Night


@dataclass(frozen=True)
class Store:
    """The lake as one run sees it."""

    spark: SparkSession
    night: Night

    def read(self, table: Table) -> DataFrame:
        """This run's rows."""
        return read_table(self.spark, self.night.lake, table, run_id=self.night.run_id)

    def read_all(self, table: Table) -> DataFrame:
        """Every run's rows."""
        return read_table(self.spark, self.night.lake, table)

    def write(
        self, frame: DataFrame, table: Table, replace: Mapping[str, str] | None = None, since: int | None = None
    ) -> dict[str, int]:
        """Replace this run's rows by the table's columns of a frame; returns the table's row count.

        ``since`` is the table's version that the frame was made from, where it depends on other runs' rows.
        """
        run_id, lake = self.night.run_id, self.night.lake
        rows = frame.withColumn(c.RUN_ID, F.lit(run_id)).select(*table.column_names)
        return {table.name: write_table(rows, lake, table, run_id=run_id, replace=replace, since=since)}
