"""publish: all or nothing, and old runs leave."""

from pathlib import Path

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import connect, query, read_rows
from crossrec_core.ledger import published_run, read_steps, rollback
from jobs.publish import old_runs, publish_run
from jobs.steps import Night
from tests.small_lake import FIRST_START, small_settings, write_run

VIEW = "SELECT run_id, count(*) AS places FROM recommendations GROUP BY run_id"
CHECK = "SELECT user_id, rank FROM recommendations GROUP BY ALL HAVING count(*) > 2"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A release's SQL: one view, one check."""
    folder = tmp_path / "sql"
    for kind, name, text in (("views", "places", VIEW), ("checks", "duplicate_ranks", CHECK)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{name}.sql").write_text(text + ";\n", encoding="ascii")
    return folder


def night_of(lake: Lake, run_id: str) -> Night:
    return Night(run_id, FIRST_START.date(), lake)


def test_a_whole_run_is_published_with_its_views(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    write_run(lake, settings, "r1")
    counts = publish_run(settings, night_of(lake, "r1"), sql=sql)
    assert counts == {"checks": 1, "views": 1, "runs_dropped": 0, "files_dropped": 0}
    assert published_run(lake) == "r1"
    with connect(lake, published="r1") as connection:
        assert query(connection, "SELECT * FROM places").rows == [("r1", 3 * 2 * 3)]


def test_publishing_a_run_twice_makes_one_publication(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    write_run(lake, settings, "r1")
    for _ in range(2):
        publish_run(settings, night_of(lake, "r1"), sql=sql)
    assert len(read_rows(lake, t.PUBLICATIONS)) == 1


def test_a_check_with_a_row_publishes_nothing_and_names_it(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    write_run(lake, settings, "r1")
    publish_run(settings, night_of(lake, "r1"), sql=sql)
    write_run(lake, settings, "r2", night=1)
    again = [row for row in read_rows(lake, t.RECOMMENDATIONS, where={c.RUN_ID: "r2"}) if row[c.USER_ID] == "ann"]
    write_rows(lake, t.RECOMMENDATIONS, again, append=True)
    with pytest.raises(CrossRecError, match=r"duplicate_ranks\.sql: run r2 has a row with user_id = ann, rank = "):
        publish_run(settings, night_of(lake, "r2"), sql=sql)
    assert published_run(lake) == "r1"


@pytest.mark.parametrize("user", ["o'brien", c.NEW_USER_ID])
def test_a_user_without_a_list_publishes_nothing(lake: Lake, tmp_path: Path, sql: Path, user: str) -> None:
    settings = small_settings(tmp_path)
    write_run(lake, settings, "r1")
    kept = [r for r in read_rows(lake, t.RECOMMENDATIONS) if (r[c.USER_ID], r[c.DOMAIN]) != (user, "films")]
    write_rows(lake, t.RECOMMENDATIONS, kept, replace={c.RUN_ID: "r1"})
    with pytest.raises(CrossRecError, match=f"no list to serve for user {user} in films"):
        publish_run(settings, night_of(lake, "r1"), sql=sql)
    assert published_run(lake) is None


def test_a_view_that_does_not_fit_publishes_nothing(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    write_run(lake, settings, "r1")
    (sql / "views" / "broken.sql").write_text("SELECT colour FROM recommendations", encoding="ascii")
    with pytest.raises(CrossRecError, match=r"broken\.sql"):
        publish_run(settings, night_of(lake, "r1"), sql=sql)
    assert published_run(lake) is None


def test_runs_beyond_keep_runs_leave_and_ids_stay(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path, lake={"keep_runs": 2})
    for night, run_id in enumerate(("r1", "failed", "r2", "r3")):
        write_run(lake, settings, run_id, night=night)
        checkpoint = Path(lake.at(f"checkpoints/{run_id}/serve/model.json"))
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_text("{}", encoding="ascii")
        if run_id != "failed":
            publish_run(settings, night_of(lake, run_id), sql=sql)
    assert {step.run_id for step in read_steps(lake)} == {"r2", "r3"}
    assert {row[c.RUN_ID] for row in read_rows(lake, t.RECOMMENDATIONS)} == {"r2", "r3"}
    assert {row[c.RUN_ID] for row in read_rows(lake, t.USER_IDS)} == {"r1"}
    assert sorted(path.name for path in Path(lake.at("checkpoints")).iterdir()) == ["r2", "r3"]
    assert sorted(path.name for path in Path(lake.at("sql")).iterdir()) == ["r2", "r3"]
    assert rollback(lake) == "r2"


def test_a_run_that_was_rolled_back_to_is_kept(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    for night, run_id in enumerate(("r1", "r2", "r3")):
        write_run(lake, settings, run_id, night=night)
        publish_run(settings, night_of(lake, run_id), sql=sql)
    rollback(lake, "r1")
    assert old_runs(lake, keep=1) == []
    assert old_runs(lake, keep=2) == []


def test_a_run_whose_checkpoints_a_kept_run_uses_is_kept(lake: Lake, tmp_path: Path, sql: Path) -> None:
    settings = small_settings(tmp_path)
    for night, run_id in enumerate(("r1", "r2")):
        write_run(lake, settings, run_id, night=night)
        publish_run(settings, night_of(lake, run_id), sql=sql)
    assert old_runs(lake, keep=1) == ["r1"]
    models = [{**row, "location": row["location"].replace("r2", "r1")} for row in read_rows(lake, t.MODELS)
              if row[c.RUN_ID] == "r2"]  # fmt: skip
    write_rows(lake, t.MODELS, models, replace={c.RUN_ID: "r2"})
    assert old_runs(lake, keep=1) == []
