"""The logs and the runs that the lists stand on in, the users whose rows have changed since out (IO).

A log mostly grows by whole files. Where every file that the newest run read is as it was, by size and moment, only the
files that came since can say something new, and the events of the future whose day has come. Else every row is
compared, by a fingerprint of each user's.
"""

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.frames.logs.clean import FUTURE_TIME
from crossrec_core.frames.logs.fingerprints import changed_users, latest_fingerprints, to_fingerprints, with_user
from crossrec_core.frames.logs.raw_files import RawFile, find_files, plain_path, spelt_by_spark
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from jobs.store import Store


def log_files(settings: Settings, spark: SparkSession) -> list[RawFile]:
    """The files of all logs, in order; none where one of them is a table of the warehouse, which has no files to us.

    To be listed before the logs are read: what is written meanwhile then looks new to the next run.

    Raises:
        InputError: a log has no file, or its storage cannot be reached.
    """
    if any(domain.format == "table" for domain in settings.domains.values()):
        return []
    paths = {domain.path: f"domains.{name}" for name, domain in settings.domains.items()}
    found = {file.path: file for path, where in paths.items() for file in find_files(spark, path, where=where)}
    return [found[path] for path in sorted(found)]


def write_log_files(files: Sequence[RawFile], store: Store) -> None:
    """Note the files of this run."""
    run_id = store.night.run_id
    rows = [
        {c.RUN_ID: run_id, c.SOURCE_FILE: path, "num_bytes": num_bytes, "modified_ms": modified_ms}
        for path, num_bytes, modified_ms in sorted(_stamps(files))
    ]
    write_rows(store.night.lake, t.LOG_FILES, rows, replace={c.RUN_ID: run_id})


def write_awaited(judged: DataFrame, counts: Sequence[Row], store: Store) -> None:
    """Note the users with events of the future, from the rows that clean has judged and counted by reason."""
    if any(row[c.REASON] == FUTURE_TIME for row in counts):
        future = judged.where(F.col(c.REASON) == FUTURE_TIME)
        store.write(future.groupBy(c.USER_ID).agg(F.min(c.EVENT_TIME).alias(c.EVENT_TIME)), t.AWAITED_EVENTS)
    else:
        write_rows(store.night.lake, t.AWAITED_EVENTS, [], replace={c.RUN_ID: store.night.run_id})


def new_files(files: Sequence[RawFile], store: Store, run_id: str) -> list[str] | None:
    """The paths of the files that have come since run ``run_id``; None if another one has changed or gone.

    None too where the run noted no files.
    """
    rows = read_rows(store.night.lake, t.LOG_FILES, where={c.RUN_ID: run_id})
    before = {(row[c.SOURCE_FILE], row["num_bytes"], row["modified_ms"]) for row in rows}
    now = _stamps(files)
    return sorted(path for path, *_ in now - before) if before and before <= now else None


def _stamps(files: Sequence[RawFile]) -> set[tuple[str, int, int]]:
    return {(plain_path(file.path), file.num_bytes, file.modified_ms) for file in files}


def arrived_users(
    events: DataFrame, files: Sequence[RawFile], store: Store, parts: Sequence[str], since: datetime, newest: datetime
) -> DataFrame | None:
    """Columns of ``compared_users`` for everyone with a row in a new file, or with an awaited event that has come.

    ``parts`` are the runs that the lists stand on, newest first; events up to ``since`` are in them, those up to
    ``newest`` count now. num_rows and fingerprint are null: all rows of these users are read later. None where the
    files do not tell, and every row has to be compared.
    """
    new = new_files(files, store, parts[0])
    if new is None or newest < since:
        return None
    awaited = read_table(store.spark, store.night.lake, t.AWAITED_EVENTS, where={c.RUN_ID: list(parts)})
    users = awaited.where((F.col(c.EVENT_TIME) > F.lit(since)) & (F.col(c.EVENT_TIME) <= F.lit(newest)))
    users = users.select(c.USER_ID)
    if new:
        came = _rows_of(events, new)
        if came is None:
            return None
        users = users.unionByName(with_user(came).select(c.USER_ID))
    unknown = [F.lit(None).cast("bigint").alias(name) for name in (c.NUM_ROWS, c.FINGERPRINT)]
    return users.distinct().select(c.USER_ID, *unknown)


def _rows_of(events: DataFrame, paths: Sequence[str]) -> DataFrame | None:
    """The rows of some files, for which Spark opens no other; None where it finds none, however it spells them."""
    spelt = spelt_by_spark(events)
    if not set(paths) <= set(spelt):
        return None
    rows = events.where(F.col(c.SOURCE_FILE).isin([uri for path in paths for uri in spelt[path]]))
    return None if rows.isEmpty() else rows


def compared_users(events: DataFrame, store: Store, parts: Sequence[str], *, everyone: bool) -> DataFrame:
    """The users whose fingerprint is not the newest of ``parts``: user_id, num_rows (0: gone), fingerprint."""
    rows = read_table(store.spark, store.night.lake, t.USER_FINGERPRINTS, where={c.RUN_ID: list(parts)})
    return changed_users(to_fingerprints(events), latest_fingerprints(rows, parts), everyone=everyone)


def write_fingerprints(judged: DataFrame, changed: DataFrame, store: Store) -> dict[str, int]:
    """Write the fingerprints of the users who have changed, and of those who are gone.

    With them goes the user nobody has seen, whose list is a line that every run writes.
    """
    zero = F.lit(0).cast("bigint")
    nobody = store.spark.range(0, 1, 1, 1).select(
        F.lit(c.NEW_USER_ID).alias(c.USER_ID), zero.alias(c.NUM_ROWS), zero.alias(c.FINGERPRINT)
    )
    gone = changed.where(F.col(c.NUM_ROWS) == 0)
    return store.write(to_fingerprints(judged).unionByName(gone).unionByName(nobody), t.USER_FINGERPRINTS)
