"""score: every model's lists for users with held-out items."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.retrieval.cells import CELLS_FILE
from jobs import score
from jobs.steps import Night
from tests import scoring_world as world
from tests.oracles import filled_list, transition_scores
from tests.tensors.scoring.test_neural_scorer import write_neural

pytestmark = pytest.mark.spark

RUN = "r1"


@pytest.fixture
def night(lake: Lake) -> Night:
    world.write_ids(lake, run_id=RUN)
    world.write_lake(lake, run_id=RUN, purpose=c.BACKTEST)
    return Night(RUN, date(2026, 1, 31), lake)


def items_of(rows: list[dict[str, Any]], model: str, user: str, domain: str) -> list[str]:
    own = [row for row in rows if (row[c.MODEL], row[c.USER_ID], row[c.DOMAIN]) == (model, user, domain)]
    return [row[c.ITEM_ID] for row in sorted(own, key=lambda row: row[c.RANK])]


def test_every_model_lists_for_users_with_truth_and_for_nobody_in_particular(
    spark: SparkSession, night: Night, tmp_path: Path
) -> None:
    counts = score.run(world.read_world_settings(tmp_path), night, spark)
    rows = read_rows(night.lake, t.RECOMMENDATIONS)
    assert counts == {"recommendations:backtest": len(rows), "pair_probabilities:backtest": 0}
    keys = {(row[c.MODEL], row[c.USER_ID], row[c.DOMAIN]) for row in rows}
    assert keys == {
        (model, user, domain)
        for model in ("popularity", "markov")
        for user, domain in (
            ("films only", "books"), ("books only", "books"), (c.NEW_USER_ID, "books"), (c.NEW_USER_ID, "films"),
        )
    }  # fmt: skip
    by_hand = filled_list(transition_scores([2, 1], world.TRANSITIONS[2], world.DECAY), world.POPULARITY[2], [], 5)
    assert items_of(rows, "markov", "films only", "books") == [f"i{item}" for item, _ in by_hand]
    assert {(row[c.RUN_DATE], row[c.PURPOSE]) for row in rows} == {(date(2026, 1, 31), c.BACKTEST)}


def test_scoring_again_replaces_the_rows_and_purposes_without_models_are_left_out(
    spark: SparkSession, night: Night, tmp_path: Path
) -> None:
    settings = world.read_world_settings(tmp_path)
    first = score.run(settings, night, spark)
    before = read_rows(night.lake, t.RECOMMENDATIONS)
    assert score.run(settings, night, spark) == first
    order = [c.MODEL, c.DOMAIN, c.USER_ID, c.RANK]
    assert sorted(before, key=lambda row: [row[name] for name in order]) == sorted(
        read_rows(night.lake, t.RECOMMENDATIONS), key=lambda row: [row[name] for name in order]
    )


def test_labelled_pairs_get_a_probability_from_models_with_a_ranker(
    spark: SparkSession, night: Night, tmp_path: Path
) -> None:
    location = Path(night.lake.at(f"checkpoints/{RUN}/{c.BACKTEST}/markov/2"))
    write_neural(location, "transferred", 2)
    counts = score.run(world.read_world_settings(tmp_path), night, spark)
    rows = read_rows(night.lake, t.PAIR_PROBABILITIES)
    assert counts["pair_probabilities:backtest"] == 2
    found = {(row[c.MODEL], row[c.DOMAIN], row[c.USER_ID], row[c.ITEM_ID], row[c.LABEL]) for row in rows}
    assert found == {("markov", "books", "films only", "i10", 1), ("markov", "books", "books only", "i14", 1)}
    listed = read_rows(night.lake, t.RECOMMENDATIONS)
    with_probability = {(row[c.MODEL], row[c.DOMAIN]) for row in listed if row[c.PROBABILITY] is not None}
    without = {(row[c.MODEL], row[c.DOMAIN]) for row in listed if row[c.PROBABILITY] is None}
    assert with_probability == {("markov", "books")}
    assert without == {("markov", "films"), ("popularity", "films"), ("popularity", "books")}


def test_what_a_compressed_search_loses_is_written_and_printed(
    spark: SparkSession, night: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_neural(Path(night.lake.at(f"checkpoints/{RUN}/{c.BACKTEST}/markov/2")), "transferred", 2)
    order = [c.MODEL, c.DOMAIN, c.USER_ID, c.RANK]

    def lists(search: str) -> list[tuple[Any, ...]]:
        score.run(world.read_world_settings(tmp_path, score={"n": 5, "search": search}), night, spark)
        return sorted(
            tuple(row[name] for name in (*order, c.ITEM_ID)) for row in read_rows(night.lake, t.RECOMMENDATIONS)
        )

    exact = lists("exact")
    assert read_rows(night.lake, t.SEARCH_REPORT) == []
    assert lists("compressed") == exact
    (row,) = read_rows(night.lake, t.SEARCH_REPORT)
    assert row == {
        c.RUN_ID: RUN, c.PURPOSE: c.BACKTEST, c.MODEL: "markov", c.DOMAIN: "books", "search": "compressed", c.N: 5,
        "recall": 1.0, "worst_recall": 1.0, c.NUM_USERS: 2,
    }  # fmt: skip
    line = "compressed search, markov on books: recall@5 of the exact lists 1.00000, lowest 1.000 (2 users)\n"
    assert line in capsys.readouterr().out
    lists("exact")
    assert read_rows(night.lake, t.SEARCH_REPORT) == []


def test_an_approximate_search_builds_an_index_once_where_a_model_has_vectors_and_candidates_enough(
    spark: SparkSession, night: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(night.lake.at(f"checkpoints/{RUN}/{c.BACKTEST}/markov/2"))
    write_neural(folder, "transferred", 2)
    order = [c.MODEL, c.DOMAIN, c.USER_ID, c.RANK]

    def lists(search: str, cells_from: int = 1) -> list[tuple[Any, ...]]:
        scoring = {"n": 5, "search": search, "cells_from": cells_from}
        score.run(world.read_world_settings(tmp_path, score=scoring), night, spark)
        return sorted(
            tuple(row[name] for name in (*order, c.ITEM_ID)) for row in read_rows(night.lake, t.RECOMMENDATIONS)
        )

    exact = lists("exact")
    num_candidates = len(world.ITEMS[2])
    assert lists("approximate", num_candidates + 1) == exact
    assert not (folder / CELLS_FILE).exists()
    assert lists("approximate", num_candidates) == exact  # so few candidates are one cell
    built = (folder / CELLS_FILE).stat()
    (row,) = read_rows(night.lake, t.SEARCH_REPORT)
    assert (row["search"], row["recall"]) == ("approximate", 1)
    said = capsys.readouterr().out
    assert re.search(r"\nindex of checkpoints/\S+/markov/2: \d+ candidates in 1 cells, 0 s\n", said)
    assert "approximate search, markov on books: recall@5 of the exact lists 1.00000" in said
    assert lists("approximate") == exact
    assert (folder / CELLS_FILE).stat().st_ino == built.st_ino
    assert [file.name for file in folder.parent.parent.rglob("*.faiss")] == [CELLS_FILE]
