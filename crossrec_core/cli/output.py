"""An answer in, a table or JSON on the screen or a whole file out (IO)."""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossrec_core.errors import InputError
from crossrec_core.lake_reader import Answer

PLAIN_WIDTH = 160  # of a pipe or file, which has no width of its own
ENDINGS = (".csv", ".jsonl", ".parquet")


def print_answer(answer: Answer, *, as_json: bool, title: str = "") -> None:
    """Print rows as a table for people, or as one JSON list of objects."""
    if as_json:
        print_json(answer.to_dicts())
        return
    table = Table(*answer.columns, title=title or None, title_justify="left")
    for row in answer.rows:
        # Text, not markup: a title may hold [brackets]
        table.add_row(*(Text(_shown(value), overflow="fold") for value in row))
    console().print(table)


def print_json(content: Any) -> None:
    """Print JSON; dates and times as ISO text."""
    print(json.dumps(content, default=str, ensure_ascii=False))


def console() -> Console:
    """Standard output, wide when it is not a terminal."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=PLAIN_WIDTH)


def check_ending(path: Path) -> None:
    """Raise InputError unless the file's ending names a format that can be written."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: ending {path.suffix or 'none'!r}; expected one of {', '.join(ENDINGS)}")


def write_batches(path: Path, batches: pa.RecordBatchReader) -> int:
    """Write rows as CSV, JSON lines or Parquet, by the file's ending; the file is whole or absent. Returns how many.

    Raises:
        InputError: the ending is none of them, or the folder is not there.
    """
    check_ending(path)
    with _whole_file(path) as part:
        if path.suffix == ".parquet":
            return _write_parquet(part, batches)
        return _write_csv(part, batches) if path.suffix == ".csv" else _write_jsonl(part, batches)


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` that takes its place when the block ends without an error."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}; make it first")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(path: Path, batches: pa.RecordBatchReader) -> int:
    num_rows = 0
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(batches.schema.names)
        for batch in batches:
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            num_rows += batch.num_rows
    return num_rows


def _write_jsonl(path: Path, batches: pa.RecordBatchReader) -> int:
    num_rows = 0
    with path.open("w", encoding="utf-8") as stream:
        for batch in batches:
            stream.writelines(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in batch.to_pylist())
            num_rows += batch.num_rows
    return num_rows


def _write_parquet(path: Path, batches: pa.RecordBatchReader) -> int:
    import pyarrow.parquet as pq

    num_rows = 0
    with pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            num_rows += batch.num_rows
    return num_rows


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
