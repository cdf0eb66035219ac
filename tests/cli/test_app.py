"""The commands, through Typer, on a small lake that no Spark has touched."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.app import app
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows
from crossrec_core.ledger import publish, published_run
from tests.small_lake import small_settings, write_run


@pytest.fixture
def published(lake: Lake, tmp_path: Path) -> Lake:
    """Runs r1 and r2, both published, r2 last."""
    for night, run_id in enumerate(("r1", "r2")):
        write_run(lake, small_settings(tmp_path), run_id, night=night)
        publish(lake, run_id)
    return lake


def crossrec(lake: Lake, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--lake", lake.path])


def asked_json(lake: Lake, *words: str) -> Any:
    result = crossrec(lake, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def seen_by_readers(lake: Lake) -> dict[str, str]:
    return {row["run_id"]: row["published"] for row in asked_json(lake, "runs")}


def test_recommend_shows_the_published_list_with_titles(published: Lake) -> None:
    result = crossrec(published, "recommend", "ann", "--domain", "films", "-n", "2")
    assert result.exit_code == 0
    assert "markov of run r2" in result.stdout
    assert "Alien (1979)" in result.stdout
    assert "Brazil" in result.stdout
    assert "Casablanca" not in result.stdout


def test_a_title_in_brackets_is_shown_as_it_is(published: Lake) -> None:
    assert "Dune [red]" in crossrec(published, "recommend", "ann", "--domain", "books").stdout


def test_recommend_json_has_one_object_per_place(published: Lake) -> None:
    rows = asked_json(published, "recommend", "o'brien", "--domain", "films")
    assert [(row["rank"], row["item_id"], row["title"]) for row in rows] == [
        (1, "i21", "Alien (1979)"), (2, "i22", "Brazil"), (3, "i23", "Casablanca"),
    ]  # fmt: skip
    assert rows[0]["probability"] == 0.25
    assert rows[0]["is_fallback"] is False


def test_an_unknown_user_gets_the_domains_list_and_is_told(published: Lake) -> None:
    result = crossrec(published, "recommend", "nobody", "--domain", "books", "--json")
    assert "'nobody' is not known in books" in result.stderr
    assert [row["item_id"] for row in json.loads(result.stdout)] == ["i11", "i12", "i13"]


def test_the_guards_model_is_shown_where_several_are_served(published: Lake) -> None:
    lists = [{**row, c.MODEL: "als"} for row in read_rows(published, t.RECOMMENDATIONS, where={c.RUN_ID: "r2"})]
    write_rows(published, t.RECOMMENDATIONS, lists, append=True)
    write_decisions(published, {c.ALL: "markov"})
    result = crossrec(published, "recommend", "ann", "--domain", "films")
    assert "markov of run r2" in result.stdout
    assert result.stdout.count("i21") == 1


def test_each_user_sees_the_model_of_the_own_segment(published: Lake) -> None:
    """ann has films, o'brien books only, nobody is new; each list is shorter by a place than the one before."""
    rows = read_rows(published, t.RECOMMENDATIONS, where={c.RUN_ID: "r2"})
    others = [
        {**row, c.MODEL: model} for model, longest in (("als", 2), ("popularity", 1)) for row in rows
        if row[c.RANK] <= longest
    ]  # fmt: skip
    write_rows(published, t.RECOMMENDATIONS, others, append=True)
    write_decisions(published, {c.ALL: "als", c.WARM: "markov", c.NEW: "popularity"})
    shown = {
        user: {(row["model"], row["rank"]) for row in asked_json(published, "recommend", user, "--domain", "films")}
        for user in ("ann", "o'brien", "nobody")
    }
    assert shown == {
        "ann": {("markov", 1), ("markov", 2), ("markov", 3)}, "o'brien": {("als", 1), ("als", 2)},
        "nobody": {("popularity", 1)},
    }  # fmt: skip
    assert "als of run r2" in crossrec(published, "recommend", "o'brien", "--domain", "films").stdout


def write_decisions(lake: Lake, decisions: dict[str, str]) -> None:
    """The guard's decisions for films in run r2, by segment."""
    texts = dict.fromkeys((c.MODEL, c.BASELINE, c.METRIC, c.REASON), "")
    numbers = dict.fromkeys(("value", "baseline_value", c.DIFFERENCE, c.CI_LOW, c.CI_HIGH), 0.0)
    about = {c.RUN_ID: "r2", c.PURPOSE: c.VALIDATE, c.DOMAIN: "films", c.N: 10, c.NUM_USERS: 1}
    rows = [{**texts, **numbers, **about, c.SEGMENT: name, "decision": model} for name, model in decisions.items()]
    write_rows(lake, t.TRANSFER_REPORT, rows, append=True)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_lists_of_many_users_go_to_a_file(published: Lake, tmp_path: Path, ending: str) -> None:
    users, out = tmp_path / "users.csv", tmp_path / f"lists.{ending}"
    users.write_text("group,user_id\na,o'brien\nb,nobody\n", encoding="ascii")
    words = ("recommend", "--users", str(users), "--out", str(out), "--domain", "films", "-n", "2")
    assert asked_json(published, *words) == {"users": 2, "rows": 4, "out": str(out)}
    if ending == "csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(out.open(encoding="utf-8")))
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    expected = [("o'brien", "i21"), ("o'brien", "i22"), ("nobody", "i21"), ("nobody", "i22")]
    assert [(row["user_id"], row["item_id"]) for row in rows] == expected
    assert [str(row["is_fallback"]) for row in rows] == ["False", "False", "True", "True"]


def test_one_id_per_line_is_a_user_file_too(published: Lake, tmp_path: Path) -> None:
    users, out = tmp_path / "users.txt", tmp_path / "lists.csv"
    users.write_text("ann\n\no'brien\nann\n", encoding="ascii")
    words = ("recommend", "--users", str(users), "--out", str(out), "--domain", "films")
    assert asked_json(published, *words)["users"] == 2


def test_a_write_that_fails_leaves_the_old_file_and_no_part(
    published: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, out = tmp_path / "users.csv", tmp_path / "out" / "lists.csv"
    users.write_text("ann\n", encoding="ascii")
    out.parent.mkdir()
    out.write_text("yesterday's", encoding="ascii")

    def broken(*_: object, **__: object) -> pa.RecordBatchReader:
        schema = pa.schema([("user_id", pa.string())])

        def batches() -> Any:
            yield pa.record_batch([["ann"]], schema=schema)
            raise OSError("disk full")

        return pa.RecordBatchReader.from_batches(schema, batches())

    monkeypatch.setattr("crossrec_core.cli.lists.open_lists", broken)
    result = crossrec(published, "recommend", "--users", str(users), "--out", str(out), "--domain", "films")
    assert result.exit_code == 1
    assert [path.name for path in out.parent.iterdir()] == ["lists.csv"]
    assert out.read_text(encoding="ascii") == "yesterday's"


def test_similar_falls_back_to_transitions(published: Lake) -> None:
    rows = asked_json(published, "similar", "i21", "--domain", "films")
    assert [(row["item_id"], row["title"], row["by"]) for row in rows] == [
        ("i22", "Brazil", "transitions"), ("i23", "Casablanca", "transitions"),
    ]  # fmt: skip


def test_sql_answers_a_query_and_prints_a_table_by_name(published: Lake) -> None:
    sql = "SELECT run_id, count(*) AS places FROM recommendations GROUP BY ALL ORDER BY 1"
    rows = asked_json(published, "sql", sql)
    assert rows == [{"run_id": "r1", "places": 18}, {"run_id": "r2", "places": 18}]
    named = asked_json(published, "sql", "--name", "publications")
    assert {(row["run_id"], row["kind"]) for row in named} == {("r1", "publish"), ("r2", "publish")}


def test_sql_says_when_rows_are_left_out(published: Lake) -> None:
    result = crossrec(published, "sql", "SELECT * FROM recommendations", "--limit", "3", "--json")
    assert len(json.loads(result.stdout)) == 3
    assert "more than 3 rows" in result.stderr


def test_runs_show_which_one_is_published_and_rollback_moves_it(published: Lake) -> None:
    assert seen_by_readers(published) == {"r1": "before", "r2": "now"}
    assert asked_json(published, "rollback") == {"published": "r1"}
    assert published_run(published) == "r1"
    assert seen_by_readers(published) == {"r1": "now", "r2": "before"}
    assert asked_json(published, "rollback", "r2") == {"published": "r2"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("recommend", "ann"), "expected --domain with one of books, films"),
        (("recommend", "ann", "--domain", "music"), "no lists for domain 'music'"),
        (("recommend",), "expected USER"),
        (("recommend", "--users", "absent.csv", "--out", "o.csv"), "absent.csv: cannot be read"),
        (("recommend", "--users", "absent.csv", "--out", "o.xlsx"), "expected one of .csv, .jsonl, .parquet"),
        (("similar", "i99", "--domain", "films"), "'i99': not in domain films"),
        (("sql", "SELECT nothing"), "sql: Binder Error"),
        (("sql", "DROP TABLE runs"), "expected one SELECT statement"),
        (("sql", "--name", 'x"; DROP'), "no such table or view"),
        (("sql",), "expected a query, or --name"),
        (("rollback", "r9"), "run r9 was never published"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_status_1(published: Lake, words: tuple[str, ...], told: str) -> None:
    result = crossrec(published, *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("words", ["recommend ann", "similar i1", "sql --name runs", "runs", "rollback"])
def test_no_lake_gets_one_line(lake: Lake, words: str) -> None:
    result = crossrec(lake, *words.split())
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "run jobs/nightly.py" in result.stderr


def test_an_unexpected_error_gets_one_line_and_a_traceback_on_request(
    published: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lake: Lake) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("crossrec_core.cli.app.runs_of", broken)
    result = crossrec(published, "runs")
    expected = "error: unexpected RuntimeError: two lines; run again with --traceback to see where\n"
    assert (result.exit_code, result.stderr) == (1, expected)
    assert isinstance(crossrec(published, "runs", "--traceback").exception, RuntimeError)


def test_every_command_shows_an_example_in_its_help() -> None:
    for command in ("recommend", "similar", "sql", "runs", "rollback", "doctor"):
        assert f"crossrec {command}" in CliRunner().invoke(app, [command, "--help"]).stdout


def test_the_published_list_needs_neither_torch_nor_spark_nor_pandas(published: Lake) -> None:
    code = (
        "import sys; from crossrec_core.cli.app import app; "
        f"app(['recommend', 'ann', '--domain', 'films', '--lake', {published.path!r}], standalone_mode=False); "
        "print(sorted({'torch', 'pyspark', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
