"""What a contender of benchmarks/prepare.py left in, a count and a hash of the rows of every table out.

Numbers of users and items may differ, as nobody is told in which order to count: outside ids take their places before
anything is hashed. The tables, of Parquet files that DuckDB reads:

    kept       user_id, domain, item_id, event_time       rejected   the same and reason
    user_ids   user_id, user_num                          item_ids   item_id, item_num
    events     user_num, domain, item_num, event_time, split
    sequences  purpose, user_num, place, item_num, domain, event_time: a row per event, the oldest first
"""

from pathlib import Path

import duckdb

from benchmarks.prepare_problem import RUN_ID
from crossrec_core import tables as t
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import connect

Print = dict[str, tuple[int, int]]  # table -> its rows, and the sum of their hashes
PURPOSES = ("validate", "backtest", "serve")
LAKE_TABLES = (t.INTERACTIONS, t.REJECTS, t.USER_IDS, t.ITEM_IDS, t.LABEL_IDS, t.SPLIT_INTERACTIONS, t.SEQUENCES)
LAKE_VIEWS = """
CREATE TEMP VIEW kept AS
    SELECT user_id::BIGINT user_id, domain[2:]::TINYINT "domain", item_id::BIGINT item_id,
        event_order // 1000 event_time
    FROM interactions;
CREATE TEMP VIEW rejected AS
    SELECT (raw_text ->> 'user_id')::BIGINT user_id, (raw_text ->> 'domain')::TINYINT "domain",
        (raw_text ->> 'item_id')::BIGINT item_id, (raw_text ->> 'event_time')::BIGINT event_time, reason
    FROM rejects;
CREATE TEMP VIEW users AS SELECT user_id::BIGINT user_id, user_num FROM user_ids;
CREATE TEMP VIEW items AS SELECT item_id::BIGINT item_id, item_num FROM item_ids;
CREATE TEMP VIEW events AS
    SELECT user_num, domain[2:]::TINYINT "domain", item_num, event_order // 1000 event_time, split
    FROM split_interactions;
CREATE TEMP VIEW steps AS
    SELECT purpose, user_num, place, item_nums[place] item_num, label_name[2:]::TINYINT "domain",
        event_orders[place] // 1000 event_time
    FROM sequences, range(1, length + 1) AS places(place)
    JOIN label_ids ON kind = 'domain' AND label_num = domain_nums[place];
"""
FILE_VIEWS = r"""
CREATE VIEW kept AS SELECT user_id, domain::TINYINT "domain", item_id, {millis}(event_time) event_time FROM {kept};
CREATE VIEW users AS SELECT user_id, user_num FROM {user_ids};
CREATE VIEW items AS SELECT item_id, item_num FROM {item_ids};
CREATE VIEW events AS SELECT user_num, domain::TINYINT "domain", item_num, {millis}(event_time) event_time, split
    FROM {events};
CREATE VIEW steps AS
    SELECT regexp_extract(filename, 'sequences-([a-z]+)\.parquet', 1) purpose, user_num, place,
        item_num[place] item_num, domain[place]::TINYINT "domain", {millis}(event_time[place]) event_time
    FROM {sequences}, range(1, len(item_num) + 1) AS places(place);
"""
REJECTED_VIEW = """
CREATE VIEW rejected AS SELECT user_id, domain::TINYINT "domain", item_id, event_time, reason FROM {rejected};
"""
NAMED = "(SELECT * FROM {rows} JOIN users USING (user_num) JOIN items USING (item_num))"
# Table -> its rows with outside ids
ROWS = {
    "kept": "kept", "rejected": "rejected", "user_ids": "(SELECT user_id FROM users)",
    "item_ids": "(SELECT item_id FROM items)", "events": NAMED.format(rows="events"),
    "sequences": NAMED.format(rows="steps"),
}  # fmt: skip
HASHED = {
    "kept": "user_id, domain, item_id, event_time", "rejected": "user_id, domain, item_id, event_time, reason",
    "user_ids": "user_id", "item_ids": "item_id", "events": "user_id, domain, item_id, event_time, split",
    "sequences": "purpose, user_id, place, item_id, domain, event_time",
}  # fmt: skip


def print_lake(path: Path) -> Print:
    """The print of this project's lake."""
    with connect(Lake(str(path)), run_id=RUN_ID, tables=LAKE_TABLES) as connection:
        connection.execute(LAKE_VIEWS)
        return _print(connection, list(ROWS))


def print_files(folder: Path, *, has_rejects: bool, has_moments: bool) -> Print:
    """The print of another contender's files; one that knows moments alone wrote no milliseconds."""
    with duckdb.connect() as connection:
        sources = {name: _source(folder, name) for name in ROWS if name != "rejected" or has_rejects}
        connection.execute((FILE_VIEWS + (REJECTED_VIEW if has_rejects else "")).format(
            **sources, millis="epoch_ms" if has_moments else ""
        ))  # fmt: skip
        return _print(connection, list(sources))


def check_same(name: str, found: Print, expected: Print) -> None:
    """Raises CrossRecError unless every table of ``found`` has the rows of the one in ``expected``."""
    wrong = {table: (print_, expected[table]) for table, print_ in found.items() if print_ != expected[table]}
    if wrong:
        seen = "; ".join(f"{table}: {seen}, ours {ours}" for table, (seen, ours) in wrong.items())
        raise CrossRecError(f"{name}: other rows than ours (rows and sum of their hashes): {seen}; mend its worker")


def _source(folder: Path, name: str) -> str:
    """The files ``NAME.parquet`` or ``NAME-PART.parquet``, or what lies in folders of such names."""
    found = sorted(path for path in folder.glob(f"{name}*.parquet"))
    files = [str(part) for path in found for part in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    return f"read_parquet({files})"


def _print(connection: duckdb.DuckDBPyConnection, names: list[str]) -> Print:
    for ids, number in (("users", "user_num"), ("items", "item_num")):
        first, last, rows, distinct = _row(
            connection, f"SELECT min({number}), max({number}), count(*), count(DISTINCT {number}) FROM {ids}"
        )
        if not rows == distinct == last - first + 1:
            raise CrossRecError(f"{ids}: {rows} rows, {distinct} numbers from {first} to {last}; expected dense ones")
    prints = {}
    for name in names:
        rows, total = _row(connection, f"SELECT count(*), sum(hash({HASHED[name]})) FROM {ROWS[name]}")
        prints[name] = (int(rows), int(total or 0))
    return prints


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row: tuple[int, ...] | None = connection.execute(sql).fetchone()
    assert row is not None
    return row
