"""Batches of users in, Parquet files of their ranked lists out: what a scoring worker puts into the lake itself (IO).

Nobody reads the files before one commit names them. A task that is done again writes other files.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from crossrec_core import columns as c
from crossrec_core.delta import NewFile, arrow_schema, new_file, partition_folder
from crossrec_core.lake import Lake, plain_uri
from crossrec_core.tables import RECOMMENDATIONS
from crossrec_core.tensors.inputs.user_batch import to_user_batch
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.item_names import load_item_names
from crossrec_core.tensors.scoring.ranked_lists import Columns, LoadedModel, rank_by_model
from crossrec_core.tensors.scoring.scorer import LoadModels, load_models

if TYPE_CHECKING:
    import pandas as pd

WriteLists = Callable[[Iterable["pd.DataFrame"]], "pd.DataFrame"]

# Rows of one model and domain that a worker holds before it writes them
ROW_GROUP_ROWS = 65_536
_BODY = pa.schema([entry for entry in arrow_schema(RECOMMENDATIONS) if entry.name not in RECOMMENDATIONS.partition_by])
# A dictionary of scores, hardly two of which are equal, made files half as large again
_REPEATED = [name for name in _BODY.names if name not in (c.SCORE, c.PROBABILITY)]
_PATHS = pa.array(c.PATHS)
WRITTEN = ("path", "size", "num_rows")


@dataclass(frozen=True)
class ListsWrite:
    """One write of recommendations: where its files go, and the names of the numbers in its rows."""

    lake: Lake
    write_id: str
    run_id: str
    run_date: date
    purpose: str
    models: tuple[str, ...]  # by model_index
    domains: Mapping[int, str]  # by domain_num
    names_folder: str  # of item_names.write_item_names


@dataclass(frozen=True)
class LoadListWriter:
    """Makes a list of the best candidates for every user, model and wanted domain, and writes it."""

    load: LoadModels
    write: ListsWrite
    search: Search

    def __call__(self) -> WriteLists:
        """Load, or find what this worker has loaded: batches of the user frame -> a row per file (``NewFile``).

        Rows are in the order of users and ranks if the users are in theirs.

        Raises:
            CheckpointError: a folder is missing, broken, of an unknown kind or made for other ids.
        """
        models = load_models(self.load)
        names = _load_names(self.write.names_folder, self.write.write_id)
        domain_nums = sorted({model.candidates.domain_num for model in models})

        def rank_all(batches: Iterable["pd.DataFrame"]) -> Iterator[tuple[LoadedModel, Columns]]:
            for users in batches:
                batch = to_user_batch(users, domain_nums)
                yield from rank_by_model(batch, models, search=self.search)

        def write_all(batches: Iterable["pd.DataFrame"]) -> "pd.DataFrame":
            return _to_frame(write_parts(rank_all(batches), names, self.write))

        return write_all


def write_parts(
    parts: Iterable[tuple[LoadedModel, Columns]], names: pa.StringArray, write: ListsWrite
) -> list[NewFile]:  # fmt: skip
    """Write the parts of ``rank_by_model`` to a file for every model and domain, and say which files there are now."""
    root = plain_uri(write.lake.at(RECOMMENDATIONS.name))
    filesystem, folder = fsspec.core.url_to_fs(root, **write.lake.storage_options)
    writers: dict[str, pq.ParquetWriter] = {}
    waiting: dict[str, list[pa.Table]] = {}
    num_rows: Counter[str] = Counter()
    file_name = f"part-{uuid.uuid4().hex}.parquet"
    with ExitStack() as stack:
        for model, columns in parts:
            path = f"{_partition(model, write)}/{file_name}"
            if path not in writers:
                writers[path] = stack.enter_context(_open_writer(filesystem, f"{folder}/{path}"))
            table = _to_table(columns, names, write.run_date)
            num_rows[path] += table.num_rows
            waiting.setdefault(path, []).append(table)
            if sum(own.num_rows for own in waiting[path]) >= ROW_GROUP_ROWS:
                writers[path].write_table(pa.concat_tables(waiting.pop(path)))
        for path, tables in waiting.items():
            writers[path].write_table(pa.concat_tables(tables))
    return [new_file(path, int(filesystem.size(f"{folder}/{path}")), num_rows[path]) for path in writers]


@lru_cache(maxsize=1)
def _load_names(folder: str, write_id: str) -> pa.StringArray:
    """Once per worker and write: the next write's names may be others."""
    return load_item_names(folder)


def _partition(model: LoadedModel, write: ListsWrite) -> str:
    """The folder of a model's and domain's lists, relative to the table's."""
    values = {
        c.RUN_ID: write.run_id, c.PURPOSE: write.purpose, c.MODEL: write.models[model.model_index],
        c.DOMAIN: write.domains[model.candidates.domain_num],
    }  # fmt: skip
    return partition_folder(write.write_id, {name: values[name] for name in RECOMMENDATIONS.partition_by})


@contextmanager
def _open_writer(filesystem: fsspec.AbstractFileSystem, path: str) -> Iterator[pq.ParquetWriter]:
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    with (
        filesystem.open(path, "wb") as stream,
        pq.ParquetWriter(stream, _BODY, compression="zstd", use_dictionary=_REPEATED) as writer,
    ):
        yield writer


def _to_table(columns: Columns, names: pa.StringArray, run_date: date) -> pa.Table:
    """Rows of ``rank_by_model`` as readers of the lake get them; a probability that is NaN is null."""
    named = {
        c.RUN_DATE: pa.repeat(pa.scalar(run_date), len(columns[c.RANK])),
        c.USER_ID: pa.array(columns[c.USER_ID], pa.string()),
        c.ITEM_ID: names.take(pa.array(columns[c.ITEM_NUM])),
        c.RANK: pa.array(columns[c.RANK]),
        c.SCORE: pa.array(columns[c.SCORE]),
        c.PROBABILITY: pa.array(columns[c.PROBABILITY], from_pandas=True),
        c.PATH: _PATHS.take(pa.array(columns[c.PATH_CODE])),
    }
    assert not named[c.ITEM_ID].null_count, "a candidate without an item id"
    return pa.table([named[name] for name in _BODY.names], schema=_BODY)


def _to_frame(files: Sequence[NewFile]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: [getattr(file, name) for file in files] for name in WRITTEN})
