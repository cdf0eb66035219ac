"""The command from logs to rows, about file and page; a second start reads what the first has finished."""

import json

import pandas as pd
import pytest

from benchmarks import fewshot
from benchmarks.fewshot_suite import report
from benchmarks.fewshot_suite.one_split import run_split
from tests.benchmarks.made_ratings import made_tables
from tests.benchmarks.test_one_split import QUICK


@pytest.fixture
def folders(tmp_path, monkeypatch):
    folder = tmp_path / "work" / "data" / "ml_100k"
    folder.mkdir(parents=True)
    for name, table in zip(("ratings.tsv", "items.tsv"), made_tables(), strict=True):
        table.to_csv(folder / name, sep="\t", index=False)
    monkeypatch.setattr(fewshot, "SplitPlan", lambda: QUICK)
    return {"out": tmp_path / "out", "work": tmp_path / "work", "page": tmp_path / "page.md"}


def start(folders, splits=2):
    fewshot.main(data="ml_100k", splits=splits, samples=200, traceback=True, **folders)


def test_two_splits_become_rows_comparisons_and_a_page_and_are_not_run_twice(folders, monkeypatch):
    start(folders)
    rows = json.loads((folders["out"] / "fewshot_users_ml_100k.json").read_text())
    wanted = {
        "suite",
        "domain",
        "segment",
        "model",
        "metric",
        "n",
        "value",
        "ci_low",
        "ci_high",
        "num_users",
        "seeds",
        "seconds",
    }
    assert {frozenset(row) for row in rows} == {frozenset(wanted)}
    assert {row["suite"] for row in rows} == {"fewshot_users_ml_100k", "fewshot_users_ml_100k/rating4"}
    assert {row["segment"] for row in rows} == {"all", "k=0", "k=1", "k=2", "k=3", "k=5", "k=8", "k=16"}
    assert {row["seeds"] for row in rows} == {2}
    values = pd.concat(pd.read_parquet(file) for file in (folders["work"] / "splits").glob("*.parquet"))
    own = values[(values["table"] == "") & (values["metric"] == "p") & (values["segment"] == "k=3")]
    found = next(
        row for row in rows
        if (row["suite"], row["metric"], row["segment"], row["model"]) == ("fewshot_users_ml_100k", "p", "k=3", "bayes")
    )  # fmt: skip
    assert found["value"] == pytest.approx(own[own["model"] == "bayes"]["value"].mean())
    assert found["num_users"] == own["user_id"].nunique()
    about = json.loads((folders["out"] / "fewshot_users_ml_100k.about.json").read_text())
    assert [split["split"] for split in about["splits"]] == [0, 1]
    assert len(about["comparisons"]) == 80
    page = folders["page"].read_text()
    assert "| model | all (24) | k=0 (24) |" in page.replace(f"({found['num_users']})", "(24)")
    assert "| *MeLU* (RecBole-MetaRec, its relevance not stated) | *0.5331* |" in page
    monkeypatch.setattr(report, "run_split", None)
    start(folders)
    assert json.loads((folders["out"] / "fewshot_users_ml_100k.json").read_text()) == rows


def test_a_split_that_other_code_made_is_made_again(folders, monkeypatch):
    start(folders, splits=1)
    monkeypatch.setattr(report, "hash_code", lambda: "other")
    made = []
    monkeypatch.setattr(report, "run_split", lambda *given: made.append(given[2]) or run_split(*given))
    start(folders, splits=1)
    assert made == [0]
