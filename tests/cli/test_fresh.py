"""--fresh: the published model scores one user now."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.app import app
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake, candidates_location, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.ledger import publish
from crossrec_core.tensors.retrieval.candidates import save_candidates
from tests.small_lake import DOMAIN_NUMS, small_settings, write_run

ITEMS = {1: [11, 12, 13], 2: [21, 22, 23]}
PRINT = "0123"
# history item -> (film, weight): ann's book 12 leads to film 23, o'brien's book 13 to film 22
LEADS = {12: (23, 1.0), 13: (22, 2.0)}


def write_artifacts(lake: Lake, purpose: str) -> None:
    """The candidates and a transitions model for films."""
    save_candidates(
        lake.at(candidates_location("r1", purpose)), items={d: torch.tensor(items) for d, items in ITEMS.items()},
        popularity={d: torch.tensor([0.5, 0.3, 0.2]) for d in ITEMS},
        trends={d: torch.tensor([[0.5, 0.3, 0.2]]) for d in ITEMS}, domains=DOMAIN_NUMS, id_fingerprint=PRINT,
        events={d: torch.tensor([0.5, 0.3, 0.2]) for d in ITEMS},
    )  # fmt: skip
    folder = Path(lake.at(model_location("r1", purpose, "markov", "films")))
    folder.mkdir(parents=True)
    counts = torch.tensor([0, *(1 if item in LEADS else 0 for item in range(24))])
    positions = torch.tensor([ITEMS[2].index(LEADS[item][0]) for item in sorted(LEADS)], dtype=torch.int32)
    weights = torch.tensor([LEADS[item][1] for item in sorted(LEADS)])
    csr = {"indptr": counts.cumsum(0), "positions": positions, "weights": weights}
    save_file(csr, folder / "weights.safetensors")
    about = {
        "kind": "transitions", "model": "markov", "domain": "films", "domain_num": 2, "id_fingerprint": PRINT,
        "settings": {"history_decay": 0.5, "popularity_share": 0.0},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(about), encoding="ascii")


@pytest.fixture
def published(lake: Lake, tmp_path: Path) -> Lake:
    """Run r1 with the artifacts of its model."""
    write_run(lake, small_settings(tmp_path), "r1")
    write_artifacts(lake, c.SERVE)
    publish(lake, "r1")
    return lake


def fresh_list(lake: Lake, user: str) -> list[tuple[str, str]]:
    words = ["recommend", user, "--domain", "films", "--fresh", "--json", "--lake", lake.path]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["item_id"], row["path"]) for row in rows]


def test_a_user_without_films_is_scored_by_books(published: Lake) -> None:
    """o'brien read 12, then 13: 22 counts 2, 23 counts 0.5, 21 is filled by popularity."""
    assert fresh_list(published, "o'brien") == [
        ("i22", c.OTHER_DOMAINS), ("i23", c.OTHER_DOMAINS), ("i21", c.POPULARITY),
    ]  # fmt: skip


def test_each_user_is_scored_by_the_model_of_the_own_segment(published: Lake) -> None:
    """als of films is popularity alone: it serves users without films."""
    lists = [{**row, c.MODEL: "als"} for row in read_rows(published, t.RECOMMENDATIONS)]
    write_rows(published, t.RECOMMENDATIONS, lists, append=True)
    folder = Path(published.at(model_location("r1", c.SERVE, "als", "films")))
    folder.mkdir(parents=True)
    save_file({"scores_V": torch.tensor([3.0, 1.0, 2.0])}, folder / "weights.safetensors")
    about = {"kind": "item_scores", "model": "als", "domain": "films", "domain_num": 2, "id_fingerprint": PRINT}
    (folder / "model.json").write_text(json.dumps({**about, "settings": {}}), encoding="ascii")
    (row,) = [row for row in read_rows(published, t.MODELS) if row[c.DOMAIN] == "films"]
    location = model_location("r1", c.SERVE, "als", "films")
    write_rows(published, t.MODELS, [{**row, c.MODEL: "als", "location": location}], append=True)
    texts = dict.fromkeys((c.BASELINE, c.METRIC, c.REASON), "")
    numbers = dict.fromkeys(("value", "baseline_value", c.DIFFERENCE, c.CI_LOW, c.CI_HIGH), 0.0)
    run = {c.RUN_ID: "r1", c.PURPOSE: c.VALIDATE, c.DOMAIN: "films", c.MODEL: "", c.N: 10, c.NUM_USERS: 1}
    decided = {c.WARM: "markov", c.COLD_IN_DOMAIN: "als", c.NEW: "markov"}
    rows = [{**texts, **numbers, **run, c.SEGMENT: segment, "decision": model} for segment, model in decided.items()]
    write_rows(published, t.TRANSFER_REPORT, rows, append=True)
    assert [item for item, _ in fresh_list(published, "o'brien")] == ["i21", "i23", "i22"]
    assert fresh_list(published, "ann") == [("i23", c.OWN_HISTORY), ("i22", c.POPULARITY)]


def test_what_the_user_has_is_not_listed(published: Lake) -> None:
    assert fresh_list(published, "ann") == [("i23", c.OWN_HISTORY), ("i22", c.POPULARITY)]


def test_an_unknown_user_gets_the_published_fallback(published: Lake) -> None:
    assert [item for item, _ in fresh_list(published, "nobody")] == ["i21", "i22", "i23"]


def test_where_serving_refits_nothing_the_backtests_model_scores(lake: Lake, tmp_path: Path) -> None:
    write_run(lake, small_settings(tmp_path), "r1")
    write_artifacts(lake, c.BACKTEST)
    models = [
        {**row, c.PURPOSE: c.BACKTEST, "location": row["location"].replace("/serve/", "/backtest/")}
        for row in read_rows(lake, t.MODELS)
    ]
    write_rows(lake, t.MODELS, models, replace={c.RUN_ID: "r1"})
    publish(lake, "r1")
    assert fresh_list(lake, "ann")[0] == ("i23", c.OWN_HISTORY)


def test_a_model_that_is_gone_gets_one_line(published: Lake) -> None:
    write_rows(published, t.MODELS, [], replace={c.RUN_ID: "r1"})
    words = ["recommend", "ann", "--domain", "films", "--fresh", "--lake", published.path]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "no model markov of films to score with" in result.stderr


def test_similar_goes_by_the_neural_vectors_where_there_are_some(published: Lake) -> None:
    models = [{**row, c.KIND: "neural"} for row in read_rows(published, t.MODELS)]
    write_rows(published, t.MODELS, models, replace={c.RUN_ID: "r1"})
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    save_file({"vectors_VD": vectors}, Path(published.at("checkpoints/r1/serve/markov/films/vectors_VD.safetensors")))
    words = ["similar", "i21", "--domain", "films", "--json", "--lake", published.path]
    rows = json.loads(CliRunner().invoke(app, words).stdout)
    assert [(row["item_id"], row["by"]) for row in rows] == [("i23", "item vectors"), ("i22", "item vectors")]
