"""A finished run -> what readers see, by one commit after the checks; old runs leave."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import fsspec
import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import drop_runs
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake, plain_uri, views_location
from crossrec_core.lake_reader import OVER_RUNS, connect, parts_of, query, read_rows, read_sql_folder
from crossrec_core.ledger import publications, publish, published_run, read_steps
from crossrec_core.settings import Settings
from jobs.steps import Night, step_command

SQL = Path(__file__).resolve().parents[1] / "sql"
WITHOUT_LIST = f"""
WITH known AS (
    SELECT user_num FROM sequences WHERE purpose = '{c.SERVE}'
    UNION
    SELECT user_num FROM histories WHERE purpose = '{c.SERVE}'
),
expected AS (
    SELECT '{c.NEW_USER_ID}' AS user_id
    UNION ALL
    SELECT user_ids.user_id FROM user_ids INNER JOIN known ON known.user_num = user_ids.user_num WHERE user_space = $2
),
served AS (
    SELECT user_id FROM recommendations WHERE purpose = '{c.SERVE}' AND domain = $1 AND rank = 1
)
SELECT user_id FROM expected WHERE user_id NOT IN (SELECT user_id FROM served) ORDER BY user_id LIMIT 1
"""


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Check the run's rows, store the release's views, publish, drop what is beyond lake.keep_runs."""
    return publish_run(settings, night, sql=SQL)


def publish_run(settings: Settings, night: Night, *, sql: Path) -> dict[str, int]:
    """``run`` with the folder of views and checks; needs no Spark.

    Raises:
        CrossRecError: a check has rows, a list is missing or a view does not fit; nothing is published.
        LakeError: the lake is of another version.
    """
    before = published_run(night.lake)
    checks = read_sql_folder(str(sql / "checks"), Lake(str(sql)))
    with connect(night.lake, run_id=night.run_id, only_remade=True) as connection:  # the others were checked before
        check_rows(connection, checks, run_id=night.run_id)
        check_lists(connection, settings, run_id=night.run_id)
    views = read_sql_folder(str(sql / "views"), Lake(str(sql)))
    write_views(night.lake, night.run_id, views)
    connect(night.lake, published=night.run_id).close()  # every view fits the tables it reads
    if before != night.run_id:
        publish(night.lake, night.run_id)
    old = old_runs(night.lake, keep=settings.lake.keep_runs)
    num_files = delete_runs(night.lake, old)
    return {"checks": len(checks), "views": len(views), "runs_dropped": len(old), "files_dropped": num_files}


def check_rows(connection: duckdb.DuckDBPyConnection, checks: Mapping[str, str], *, run_id: str) -> None:
    """Raise CrossRecError naming the first check that returns a row, and that row."""
    for name, text in checks.items():
        try:
            found = query(connection, text, limit=1)
        except CrossRecError as error:
            raise CrossRecError(f"sql/checks/{name}.sql: {error}; mend the check, then jobs/publish.py") from error
        if found.rows:
            row = ", ".join(f"{column} = {value}" for column, value in found.to_dicts()[0].items())
            raise CrossRecError(
                f"sql/checks/{name}.sql: run {run_id} has a row with {row}; expected none; nothing is published; "
                "run the step that wrote it again"
            )


def check_lists(connection: duckdb.DuckDBPyConnection, settings: Settings, *, run_id: str) -> None:
    """Raise CrossRecError unless every known user and the user nobody has seen have a list in every target domain."""
    for domain in settings.targets:
        found = query(connection, WITHOUT_LIST, [domain, settings.domains[domain].user_space])
        if found.rows:
            raise CrossRecError(
                f"recommendations: run {run_id} has no list to serve for user {found.rows[0][0]} in {domain}; expected "
                "one for every known user and for new ones; nothing is published; run jobs/serve.py again"
            )


def write_views(lake: Lake, run_id: str, views: Mapping[str, str]) -> None:
    """Store the release's views in the lake, beside the run they will be published with."""
    filesystem, root = fsspec.core.url_to_fs(plain_uri(lake.at(views_location(run_id))), **lake.storage_options)
    filesystem.makedirs(root, exist_ok=True)
    for name, text in views.items():
        filesystem.pipe_file(f"{root}/{name}.sql", text.encode())


def old_runs(lake: Lake, *, keep: int) -> list[str]:
    """Runs that started before the oldest of the ``keep`` runs published last; none whose checkpoints or lists those
    use.
    """
    kept = list(dict.fromkeys(str(row[c.RUN_ID]) for row in reversed(publications(lake))))[:keep]
    started = {step.run_id: step.started_at for step in reversed(read_steps(lake))}
    if len(kept) < keep:
        return []
    oldest = min(started[run_id] for run_id in kept if run_id in started)
    used = {row["location"].split("/")[1] for row in read_rows(lake, t.MODELS, where={c.RUN_ID: kept})}
    used |= {part for run_id in kept for part in parts_of(lake, run_id)}
    return sorted(run_id for run_id, start in started.items() if start < oldest and run_id not in {*kept, *used})


def delete_runs(lake: Lake, run_ids: Sequence[str]) -> int:
    """Drop the rows, checkpoints and views of runs; id tables and publications stay whole. Returns how many files."""
    if not run_ids:
        return 0
    num_files = 0
    # The runs table goes last: a run that was half deleted is found again the next night
    for table in [*(table for table in t.ALL_TABLES.values() if table not in (*OVER_RUNS, t.RUNS)), t.RUNS]:
        if table is t.RUNS:
            _delete_folders(lake, [f"{kind}/{run_id}" for kind in ("checkpoints", "sql") for run_id in run_ids])
        num_files += drop_runs(lake, table, run_ids)
    return num_files


def _delete_folders(lake: Lake, locations: Sequence[str]) -> None:
    for location in locations:
        filesystem, root = fsspec.core.url_to_fs(plain_uri(lake.at(location)), **lake.storage_options)
        if filesystem.exists(root):
            filesystem.rm(root, recursive=True)


main = step_command("publish", run)

if __name__ == "__main__":
    typer.run(main)
