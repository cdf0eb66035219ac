"""The command on the parity world: four steps of a night, once, and learning curves of all heads out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUICK_ON_FEW_ROWS
from tests.jobs.conftest import write_small

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600
SUITE = """
title = "the parity world, in time"
protocol = "its own cut"
config = "{config}"
data = ["films.csv"]
seeds = [1, 2]
metrics = ["ndcg@10"]
segments = ["k=0", "k=2"]
ours = ["bayes"]
[[comparisons]]
model = "bayes"
baselines = ["in_context"]
segments = ["k=2"]
[settings.spark]
master = "local[2]"
driver_memory = "1g"
"""


def start(folder: Path, options: list[str]) -> str:
    quick = ", ".join(f'"{name}" = "{value}"' for name, value in QUICK_ON_FEW_ROWS.items())
    command = [
        sys.executable, "benchmarks/fewshot_in_time.py", "--suite", str(folder / "in_time.toml"), "--data", str(folder),
        "--out", str(folder / "out"), "--work", str(folder / "work"), "--page", str(folder / "page.md"),
        "--samples", "200", f"--set=spark.options={{{quick}}}", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.spark
@pytest.mark.slow
def test_a_night_up_to_its_pretrained_model_becomes_learning_curves(tmp_path):
    world, options = write_small(tmp_path)
    (tmp_path / "in_time.toml").write_text(SUITE.format(config=world.config), encoding="utf-8")
    assert start(tmp_path, options).count("pretrain: ") == 1
    rows = json.loads((tmp_path / "out/in_time.json").read_text(encoding="utf-8"))
    assert {row["segment"] for row in rows} == {"k=0", "k=2"}
    assert {row["seeds"] for row in rows} == {2}
    assert {"bayes", "in_context", "fine_tuned", "maml", "neural_process"} <= {row["model"] for row in rows}
    about = json.loads((tmp_path / "out/in_time.about.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in about["comparisons"]] == ["bayes"] * len({row["domain"] for row in rows})
    assert "| bayes |" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "pretrain: " not in start(tmp_path, options)
