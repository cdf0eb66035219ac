"""A night that is killed and resumed, and one on a small cluster, publish what an unbroken one does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from crossrec_core import tables as t
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_arrow
from crossrec_core.ledger import published_run
from tests.conftest import QUICK_ON_FEW_ROWS
from tests.jobs.conftest import write_small

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900
FEW_BASELINES = '--set=baselines.models=["decayed_popularity", "markov"]'
SMALL_EXECUTORS = {"spark.executor.memory": "1g", "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
# Run ids, times and the machine's seconds may differ between two runs; nothing else may
COMPARED = {
    t.RECOMMENDATIONS: ["purpose", "model", "domain", "user_id", "rank", "item_id", "score", "probability", "path"],
    t.METRICS: ["model", "domain", "segment", "metric", "n", "value", "ci_low", "ci_high", "num_users"],
    t.TRANSFER_REPORT: ["purpose", "domain", "segment", "model", "baseline", "metric", "n", "difference", "decision"],
    t.USER_IDS: ["user_space", "user_id", "user_num"],
    t.ITEM_IDS: ["item_space", "item_id", "item_num"],
}


def nightly(config: Path, lake: Path, options: Sequence[str], *more: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable, "jobs/nightly.py", "--config", str(config), "--as-of", "2024-07-01",
        f"--set=lake.path={lake}", "--set=spark.master=local[2]", "--set=spark.driver_memory=1g",
        spark_options(QUICK_ON_FEW_ROWS), *options, FEW_BASELINES, *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def spark_options(options: dict[str, str]) -> str:
    pairs = ", ".join(f'"{name}" = "{value}"' for name, value in options.items())
    return f"--set=spark.options={{{pairs}}}"


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output[-3000:]
    return output


def kill_in(process: "subprocess.Popen[str]", step: str, *, after_s: float) -> None:
    """SIGKILL the driver, its JVM and its workers a moment after the step began."""
    assert process.stdout is not None
    for line in process.stdout:
        if f"] {step} ..." in line:
            break
    time.sleep(after_s)
    assert process.poll() is None, f"the night ended before {step} could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def published(lake: Path, run_id: str) -> dict[str, pa.Table]:
    assert published_run(Lake(str(lake))) == run_id
    tables = {}
    for table, columns in COMPARED.items():
        rows = read_arrow(Lake(str(lake)), table, where={"run_id": run_id}, columns=columns)
        tables[table.name] = rows.sort_by([(name, "ascending") for name in columns])
    return tables


def assert_same(seen: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for name, rows in expected.items():
        assert seen[name].num_rows == rows.num_rows > 0
        for column in rows.column_names:
            # Spark adds floats in the order tasks end, and a batch of another size may add features in another order:
            # the last bit of a mean or a probability may differ, a score or a rank may not
            if column != "score" and pa.types.is_floating(rows[column].type):
                close = np.allclose(seen[name][column], rows[column], rtol=1e-9, atol=1e-12, equal_nan=True)
                assert close, f"{name}.{column} differs"
            else:
                assert seen[name][column].equals(rows[column]), f"{name}.{column} differs"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, pa.Table]]:
    folder = tmp_path_factory.mktemp("unbroken")
    world, options = write_small(folder)
    finish(nightly(world.config, folder / "lake", options, "--run-id=whole"))
    return world.config, options, published(folder / "lake", "whole")


@pytest.mark.parametrize(("step", "after_s"), [("prepare", 6.0), ("finetune", 1.0), ("serve", 2.0)])
def test_a_killed_night_resumes_to_the_same_tables(
    unbroken: tuple[Path, list[str], dict[str, pa.Table]], tmp_path: Path, step: str, after_s: float
) -> None:
    config, options, expected = unbroken
    lake = tmp_path / "lake"
    kill_in(nightly(config, lake, options, "--run-id=killed"), step, after_s=after_s)
    assert published_run(Lake(str(lake))) is None
    output = finish(nightly(config, lake, options, "--resume=killed"))
    assert f"] {step} ..." in output
    assert "clean: done before" in output
    assert_same(published(lake, "killed"), expected)


def test_a_small_cluster_publishes_the_same_lists(
    unbroken: tuple[Path, list[str], dict[str, pa.Table]], tmp_path: Path
) -> None:
    """Two executors in processes of their own: what travels to them is the installed package alone."""
    config, options, expected = unbroken
    cluster = ["--set=spark.master=local-cluster[2,1,2048]", spark_options({**QUICK_ON_FEW_ROWS, **SMALL_EXECUTORS})]
    finish(nightly(config, tmp_path / "lake", options, *cluster, "--run-id=cluster"))
    assert_same(published(tmp_path / "lake", "cluster"), expected)
