"""A whole suite from raw files to rows and page, on the parity world; a second start has nothing left to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUICK_ON_FEW_ROWS
from tests.jobs.conftest import write_small

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900
SUITE = """
title = "the parity world"
protocol = "its own cut"
config = "{config}"
data = ["films.csv"]
seeds = [1, 2]
metrics = ["ndcg@10", "hr@10", "click_brier", "click_ece"]
segments = ["all", "warm", "known_items_cold_in_domain"]
[[comparisons]]
model = "transferred"
[[comparisons]]
model = "transferred"
baselines = ["target_only"]
segments = ["known_items_cold_in_domain"]
domains = ["films"]
[[comparisons]]
model = "crossrec"
baselines = ["stacked_baselines", "best_constant"]
metrics = ["click_brier"]
[settings.spark]
master = "local[2]"
driver_memory = "1g"
[settings.baselines]
models = ["popularity", "markov"]
"""


def run_suite(folder: Path, options: list[str]) -> str:
    quick = ", ".join(f'"{name}" = "{value}"' for name, value in QUICK_ON_FEW_ROWS.items())
    command = [
        sys.executable, "benchmarks/quality.py", "--suite", str(folder / "parity.toml"), "--data", str(folder),
        "--out", str(folder / "out"), "--work", str(folder / "work"), "--page", str(folder / "page.md"),
        "--samples", "500", f"--set=spark.options={{{quick}}}", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.spark
@pytest.mark.slow
def test_a_suite_runs_from_raw_files_to_its_page_and_not_twice(tmp_path):
    world, options = write_small(tmp_path)
    (tmp_path / "parity.toml").write_text(SUITE.format(config=world.config), encoding="utf-8")
    output = run_suite(tmp_path, options)
    assert output.count("pretrain: ") == 3  # what validation chooses by, then each seed
    assert output.count("fit_baselines: ") == 1
    rows = json.loads((tmp_path / "out/parity.json").read_text(encoding="utf-8"))
    value = {(row["model"], row["domain"], row["segment"], row["metric"]): row for row in rows}
    cold = value["transferred", "films", "known_items_cold_in_domain", "ndcg"]
    assert cold["num_users"] == len(world.cold_users)
    assert cold["seeds"] == 2
    assert cold["value"] > value["target_only", "films", "known_items_cold_in_domain", "ndcg"]["value"]
    about = json.loads((tmp_path / "out/parity.about.json").read_text(encoding="utf-8"))
    assert set(about["sha256"]) == {"films.csv"}
    assert {night["seed"] for night in about["nights"]} == {1, 2}
    per_seed = {row["seed"]: row["value"] for row in about["value_by_seed"]
                if (row["model"], row["domain"]) == ("transferred", "films")}  # fmt: skip
    assert sum(per_seed.values()) / 2 == pytest.approx(value["transferred", "films", "all", "ndcg"]["value"])
    assert ("served", "films", "all", "ndcg") in value
    assert all(night["guard"]["films"]["all"] for night in about["nights"])
    compared = {(row["baseline"], row["segment"]) for row in about["comparisons"] if row["domain"] == "films"}
    assert ("target_only", "known_items_cold_in_domain") in compared
    assert value["crossrec", "films", "warm", "click_brier"]["value"] < 0.25
    assert {domain for model, domain, _, metric in value if metric == "click_ece"} == {"books", "films", "all"}
    assert {row["baseline"] for row in about["comparisons"] if row["metric"] == "click_brier"} <= {
        "stacked_baselines", "best_constant",
    }  # fmt: skip
    assert sum(row["metric"] == "click_brier" for row in about["comparisons"]) == 2
    assert "| transferred |" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert not (tmp_path / "work/parity/lakes/main-whole").exists()
    again = run_suite(tmp_path, options)
    assert "pretrain" not in again
    assert json.loads((tmp_path / "out/parity.json").read_text(encoding="utf-8")) == rows
