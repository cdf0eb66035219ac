"""What every test may ask for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any engine is imported: tests share two cores.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Thousands of plans over a handful of rows: compiling them takes longer than running them.
QUICK_ON_FEW_ROWS = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="session")
def spark() -> Iterator["SparkSession"]:  # noqa: F821  (pyspark is imported only where a test needs it)
    """One Spark session for the whole run."""
    from crossrec_core.frames.spark.session import start_session

    session = start_session(
        "tests",
        master="local[2]",
        driver_memory="2g",
        shuffle_partitions=2,
        arrow_batch_rows=1000,
        options=QUICK_ON_FEW_ROWS,
    )
    yield session
    session.stop()


@pytest.fixture
def lake(tmp_path: Path) -> "Lake":  # noqa: F821
    """An empty lake."""
    from crossrec_core.lake import Lake

    return Lake(str(tmp_path / "lake"))
