"""One seed's measures in, two small Parquet files out, and back: lossless, small enough for the repository (IO).

A row per user, domain and segment, a column per model and measure; what was not measured is null.

user_key  domain  segment          crossrec ndcg@10  crossrec hr@10
81723...  Food    cold_in_domain   0.0               0.0
81723...  Food    known_items      0.63              1.0

``NIGHT-shared-HASH.parquet`` has the first three columns and the models that are the same for every seed; it is named
by its bytes, so that seeds with the same ones share a file, on whatever machines they ran. ``NIGHT-SEED.parquet`` has
the other models' columns, row by row beside it. Neighbouring rows of one user are alike and a column has few distinct
values: a dictionary per column and zstd leave about half a byte per row and column.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality_suites.suite import to_measure
from crossrec_core import columns as c

USER_KEY = "user_key"
ROW = [USER_KEY, c.DOMAIN, c.SEGMENT]
LEVEL = 19  # of zstd
DICTIONARY_BYTES = 1 << 26  # above every column's distinct values, so that none is stored plain


def user_key(user_id: str) -> int:
    """63 bits of the id's sha256: the same user in every domain, part, cut and seed, without the id."""
    return int.from_bytes(hashlib.sha256(user_id.encode()).digest()[:8]) >> 1


def write_values(values: pd.DataFrame, file: Path, *, night: str, shared_models: Collection[str]) -> str:
    """Write model, domain, user_id, segment, metric, n and value; returns the name of the file of shared models.

    Raises:
        ValueError: a user's measure that is there twice.
    """
    wide = _to_wide(values)
    is_shared = {str(name): name in ROW or _to_model(str(name)) in shared_models for name in wide.columns}
    file.parent.mkdir(parents=True, exist_ok=True)
    shared = _to_bytes(wide[[name for name in is_shared if is_shared[name]]])
    beside = file.with_name(f"{night}-shared-{hashlib.sha256(shared).hexdigest()[:12]}.parquet")
    if not beside.exists():
        beside.write_bytes(shared)
    file.write_bytes(_to_bytes(wide[[name for name in is_shared if not is_shared[name]]]))
    return beside.name


def read_values(
    file: Path, shared: str, *, measures: Sequence[tuple[str, int]], segments: Collection[str]
) -> pd.DataFrame:  # fmt: skip
    """The rows that ``write_values`` was given, of some measures and segments; user_id is the user's key."""
    parts = [pq.read_table(each).to_pandas() for each in (file.with_name(shared), file)]
    wide = pd.concat(parts, axis=1)
    wide = wide[wide[c.SEGMENT].isin(segments)].rename(columns={USER_KEY: c.USER_ID})
    rows = wide[[c.USER_ID, c.DOMAIN, c.SEGMENT]].astype({c.DOMAIN: object, c.SEGMENT: object})
    frames = []
    for name in wide.columns.difference(rows.columns, sort=False):
        metric, n = to_measure(name.removeprefix(f"{_to_model(name)} "))
        if (metric, n) in measures:
            own = rows.assign(**{c.MODEL: _to_model(name), c.METRIC: metric, c.N: n, c.VALUE: wide[name]})
            frames.append(own.dropna(subset=[c.VALUE]))
    if not frames:
        return rows[:0].assign(**{c.MODEL: "", c.METRIC: "", c.N: 0, c.VALUE: 0.0})
    return pd.concat(frames, ignore_index=True)


def _to_wide(values: pd.DataFrame) -> pd.DataFrame:
    codes, ids = pd.factorize(values[c.USER_ID])
    keys = np.array([user_key(str(user_id)) for user_id in ids], dtype=np.int64)
    measure = values[c.METRIC].astype(str) + "@" + values[c.N].astype(str)
    column = values[c.MODEL].astype(str) + " " + measure
    keyed = values[[c.DOMAIN, c.SEGMENT, c.VALUE]].assign(**{USER_KEY: keys[codes], "column": column})
    return keyed.pivot(index=ROW, columns="column", values=c.VALUE).sort_index().reset_index()


def _to_model(column: str) -> str:
    return column.rpartition(" ")[0]


def _to_bytes(wide: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(wide, preserve_index=False).replace_schema_metadata(None)
    stream = pa.BufferOutputStream()
    pq.write_table(
        table, stream, compression="zstd", compression_level=LEVEL, write_statistics=False,
        dictionary_pagesize_limit=DICTIONARY_BYTES, row_group_size=max(1, len(wide)),
    )  # fmt: skip
    return bytes(stream.getvalue().to_pybytes())
