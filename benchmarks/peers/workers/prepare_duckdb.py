"""A raw log in, cleaned and prepared Parquet out by DuckDB's SQL: the small log first, then the other, a line each."""

import shutil
import sys
from pathlib import Path

import duckdb

folder, max_len, threads, valid_start, test_start, newest, *domains = (Path(sys.argv[1]), *map(int, sys.argv[2:]))
found = folder / "duckdb"

# A repeat is as good as what it repeats, so that counting them tells which stay and which go
STATEMENTS = f"""
CREATE TABLE judged AS
    SELECT *, count(*) AS times, CASE
        WHEN domain NOT IN ({", ".join(map(str, domains))}) THEN 'unknown_domain'
        WHEN item_id IS NULL THEN 'missing_item'
        WHEN event_time > {newest} THEN 'future_time'
    END AS reason
    FROM read_parquet('{{log}}/*.parquet') GROUP BY ALL;
CREATE VIEW kept AS SELECT user_id, domain, item_id, event_time FROM judged WHERE reason IS NULL;
COPY kept TO '{{to}}/kept.parquet';
COPY (
    SELECT user_id, domain, item_id, event_time, coalesce(reason, 'duplicate') AS reason
    FROM judged, range(CASE WHEN reason IS NULL THEN times - 1 ELSE times END)
    WHERE reason IS NOT NULL OR times > 1
) TO '{{to}}/rejected.parquet';
CREATE TABLE user_ids AS
    SELECT user_id, row_number() OVER () AS user_num FROM (SELECT DISTINCT user_id FROM kept);
CREATE TABLE item_ids AS
    SELECT domain, item_id, row_number() OVER () AS item_num FROM (SELECT DISTINCT domain, item_id FROM kept);
COPY user_ids TO '{{to}}/user_ids.parquet';
COPY item_ids TO '{{to}}/item_ids.parquet';
CREATE TABLE events AS
    SELECT user_num, domain, item_num, event_time, CASE
        WHEN event_time < {valid_start} THEN 'train' WHEN event_time < {test_start} THEN 'valid' ELSE 'test'
    END AS split
    FROM kept JOIN user_ids USING (user_id) JOIN item_ids USING (domain, item_id);
DROP VIEW kept;
DROP TABLE judged;
COPY events TO '{{to}}/events.parquet';
"""
SEQUENCES = f"""
COPY (
    SELECT user_num, list(item_num ORDER BY event_time) AS item_num, list(domain ORDER BY event_time) AS domain,
        list(event_time ORDER BY event_time) AS event_time
    FROM (
        SELECT * FROM events WHERE event_time < {{end}}
        QUALIFY row_number() OVER (PARTITION BY user_num ORDER BY event_time DESC) <= {max_len}
    )
    GROUP BY user_num
) TO '{{to}}/sequences-{{purpose}}.parquet';
"""
ENDS = {"validate": valid_start, "backtest": test_start, "serve": newest + 1}

for turn, _ in enumerate(sys.stdin):
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    log = folder / ("log" if turn else "small")
    with duckdb.connect(config={"threads": threads, "temp_directory": str(found / "spill")}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(STATEMENTS.format(log=log, to=found))
        for purpose, end in ENDS.items():
            connection.execute(SEQUENCES.format(to=found, purpose=purpose, end=end))
    print("solved", flush=True)
