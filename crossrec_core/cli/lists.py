"""A published run and users in, their lists with titles out: what was served, read without Spark."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files
from crossrec_core.errors import InputError, LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import Answer, check_lake, connect, parts_of, query, read_rows
from crossrec_core.ledger import published_run

# wanted users in their order, each by the model of the user's segment; those without a list of their own get the one
# for users nobody has seen. $3 holds the models of the segments warm, cold_in_domain, new.
LISTS = f"""
WITH wanted AS (
    SELECT unnest($1::VARCHAR[]) AS user_id, unnest(range(len($1::VARCHAR[]))) AS place
),
lists AS (
    SELECT user_id, model, domain, rank, item_id, score, probability, path
    FROM recommendations
    WHERE purpose = '{c.SERVE}' AND domain = $2 AND list_contains($3::VARCHAR[], model) AND rank <= $4
),
warm AS (
    SELECT DISTINCT user_ids.user_id
    FROM user_ids
    INNER JOIN histories ON histories.user_num = user_ids.user_num
    WHERE
        histories.purpose = '{c.SERVE}' AND histories.domain = $2
        AND user_ids.user_id IN (SELECT user_id FROM wanted)
),
known AS (
    SELECT DISTINCT lists.user_id, lists.model
    FROM lists
    LEFT JOIN warm ON warm.user_id = lists.user_id
    WHERE
        lists.rank = 1 AND lists.user_id IN (SELECT user_id FROM wanted)
        AND lists.model = CASE WHEN warm.user_id IS NULL THEN $3[2] ELSE $3[1] END
)
SELECT
    wanted.user_id,
    lists.domain,
    lists.rank,
    lists.item_id,
    item_features.title,
    lists.score,
    lists.probability,
    lists.path,
    lists.model,
    known.user_id IS NULL AS is_fallback
FROM wanted
LEFT JOIN known ON known.user_id = wanted.user_id
INNER JOIN lists
    ON lists.user_id = coalesce(known.user_id, '{c.NEW_USER_ID}') AND lists.model = coalesce(known.model, $3[3])
LEFT JOIN item_features ON item_features.domain = lists.domain AND item_features.item_id = lists.item_id
ORDER BY wanted.place, lists.rank
"""
TABLES = (t.RECOMMENDATIONS, t.ITEM_FEATURES, t.USER_IDS, t.HISTORIES)
BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Served:
    """The published run and the models it serves in one domain, in the order of ``columns.USER_SEGMENTS``."""

    run_id: str
    domain: str
    models: tuple[str, ...]

    def model_of(self, segment: str) -> str:
        return self.models[c.USER_SEGMENTS.index(segment)]


def find_served(lake: Lake, domain: str = "") -> Served:
    """What readers see in a domain; it may be left out where lists exist for one domain only.

    Where it has lists of several models, the guard's decisions say which segment sees which.

    Raises:
        LakeError: nothing is published, or no list exists for the domain.
    """
    run_id = find_published(lake)
    models: dict[str, set[str]] = {}
    for file in live_files(lake, t.RECOMMENDATIONS, where={c.RUN_ID: parts_of(lake, run_id), c.PURPOSE: c.SERVE}):
        models.setdefault(file.partition_values[c.DOMAIN], set()).add(file.partition_values[c.MODEL])
    name = domain or (next(iter(models)) if len(models) == 1 else "")
    if name not in models:
        seen = f"no lists for domain {domain!r}" if domain else "lists for more than one domain"
        raise LakeError(f"run {run_id}: {seen}; expected --domain with one of {', '.join(sorted(models)) or 'none'}")
    if len(models[name]) == 1:
        return Served(run_id, name, (*models[name],) * len(c.USER_SEGMENTS))
    report = read_rows(lake, t.TRANSFER_REPORT, where={c.RUN_ID: run_id})
    decided = {row[c.SEGMENT]: row["decision"] for row in report if row[c.DOMAIN] == name}
    chosen = [decided.get(segment, decided.get(c.ALL)) for segment in c.USER_SEGMENTS]
    return Served(run_id, name, tuple(model if model in models[name] else min(models[name]) for model in chosen))


def find_published(lake: Lake) -> str:
    """The published run. Raises LakeError when there is no lake or nothing is published."""
    check_lake(lake)
    run_id = published_run(lake)
    if run_id is None:
        raise LakeError(f"{lake.path}: nothing is published yet; run jobs/nightly.py to its end, see `crossrec runs`")
    return run_id


def published_or_none(lake: Lake) -> str | None:
    """The published run, or None while there is none. Raises LakeError when there is no lake."""
    check_lake(lake)
    return published_run(lake)


def select_all(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The query of a whole table or view. Raises LakeError when the lake has none of that name."""
    names = sorted(row[0] for row in query(connection, "SELECT view_name FROM duckdb_views() WHERE NOT internal").rows)
    if name not in names:
        raise LakeError(f"--name {name}: no such table or view; expected one of {', '.join(names)}")
    return f'SELECT * FROM "{name}"'


def read_lists(lake: Lake, served: Served, user_ids: Sequence[str], *, n: int) -> Answer:
    """The first ``n`` places of each user's list: user_id, domain, rank, item_id, title, score, ..., is_fallback."""
    with connect(lake, run_id=served.run_id, tables=TABLES) as connection:
        return query(connection, LISTS, [list(user_ids), served.domain, list(served.models), n])


def open_lists(lake: Lake, served: Served, user_ids: Sequence[str], *, n: int) -> pa.RecordBatchReader:
    """``read_lists`` for many users: the same rows, a batch at a time."""
    connection = connect(lake, run_id=served.run_id, tables=TABLES)
    rows = connection.sql(LISTS, params=[list(user_ids), served.domain, list(served.models), n])
    return rows.to_arrow_reader(BATCH_ROWS)


def read_user_ids(path: Path) -> list[str]:
    """The distinct ids of a CSV file with a column user_id, or of a file with one id per line, in their order.

    Raises:
        InputError: no such file, not text, several columns without that header, or no id.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a CSV file of user ids") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if c.USER_ID not in header and any(len(row) > 1 for row in rows):
        raise InputError(f"{path}: columns {', '.join(header)}; expected a header with user_id, or one id per line")
    place, body = (header.index(c.USER_ID), rows[1:]) if c.USER_ID in header else (0, rows)
    user_ids = [row[place].strip() for row in body if len(row) > place and row[place].strip()]
    if not user_ids:
        raise InputError(f"{path}: no user id in it; expected one per line")
    return list(dict.fromkeys(user_ids))
