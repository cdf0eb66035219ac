"""A path in, its files and their first lines out: what is checked before Spark reads a log or catalogue. (IO)

Files are reached through Hadoop's file systems, as Spark does, so any path that Spark can read can be checked.
"""

import csv
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession

from crossrec_core.errors import InputError

HEAD_BYTES = 65536
PARQUET_MAGIC = b"PAR1"
BOM = "\N{BYTE ORDER MARK}"
DELIMITERS = {"csv": ",", "tsv": "\t"}
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LOOKS_LIKE = {"\t": "tab-separated", ",": "comma-separated", ";": "semicolon-separated", "|": "separated by '|'"}


@dataclass(frozen=True)
class Header:
    """The columns of a set of CSV or TSV files, and every spelling of the header line among them."""

    columns: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class RawFile:
    """A file as its storage lists it: another size or moment, and something else may be in it."""

    path: str
    num_bytes: int
    modified_ms: int  # unix milliseconds


def list_files(spark: SparkSession, path: str, *, where: str) -> list[str]:
    """The paths of ``find_files``."""
    return [file.path for file in find_files(spark, path, where=where)]


def find_files(spark: SparkSession, path: str, *, where: str) -> list[RawFile]:
    """The files of a file, folder or glob, sorted; hidden ones (``_`` or ``.`` in front) inside folders are left out.

    Raises:
        InputError: nothing is there, or the storage cannot be reached.
    """
    hadoop, conf = _hadoop(spark)
    found = []
    try:
        root = hadoop.fs.Path(path)
        storage = root.getFileSystem(conf)
        for match in storage.globStatus(root) or []:
            above = match.getPath().toString()
            files = storage.listFiles(match.getPath(), True)
            while files.hasNext():
                file = files.next()
                name = file.getPath().toString()
                if not _is_hidden(name.removeprefix(above)):
                    found.append(RawFile(name, file.getLen(), file.getModificationTime()))
    except Py4JJavaError as error:
        raise InputError(f"{where}: cannot list {path} ({java_line(error)}); check the path and its storage") from error
    if not found:
        raise InputError(f"{where}: no file at {path}; expected a file, a folder of files or a glob; check the path")
    return sorted(found, key=lambda file: file.path)


def spelt_by_spark(frame: DataFrame) -> dict[str, list[str]]:
    """The files that a frame reads: ``plain_path`` -> how Spark may have it in _metadata.file_path (a space is %20)."""
    return {plain_path(unquote(uri)): [uri, plain_path(uri)] for uri in frame.inputFiles()}


def plain_path(path: str) -> str:
    """One spelling of a path: file:///a and file:/a, which Hadoop takes turns with, are the same."""
    return path.replace(":///", ":/", 1)


def read_head(spark: SparkSession, file: str, *, where: str, num_bytes: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file, unzipped if its name ends like a packed one's.

    Raises:
        InputError: the file cannot be read or unpacked.
    """
    hadoop, conf = _hadoop(spark)
    path = hadoop.fs.Path(file)
    try:
        stream = path.getFileSystem(conf).open(path)
        try:
            codec = hadoop.io.compress.CompressionCodecFactory(conf).getCodec(path)
            return bytes((codec.createInputStream(stream) if codec else stream).readNBytes(num_bytes))
        finally:
            stream.close()
    except Py4JJavaError as error:
        raise InputError(f"{where}: cannot read {file} ({java_line(error)}); replace the file") from error


def read_header(spark: SparkSession, files: list[str], *, file_format: str, where: str) -> Header:
    """The header that all the files share.

    Raises:
        InputError: a file without a header line, or with another header than the first file's.
    """
    lines = {file: _first_line(read_head(spark, file, where=where), file, where) for file in files}
    columns = {file: _split_header(line, DELIMITERS[file_format]) for file, line in lines.items()}
    first = files[0]
    for file in files:
        if columns[file] != columns[first]:
            raise InputError(
                f"{where}: {file} has the columns {', '.join(columns[file])}; expected those of {first}: "
                f"{', '.join(columns[first])}; give every file the same header"
            )
    return Header(tuple(columns[first]), tuple(sorted(set(lines.values()))))


def read_json_keys(spark: SparkSession, files: list[str], *, where: str) -> list[str]:
    """The keys of the JSON objects at the head of the files, sorted.

    Raises:
        InputError: all files are empty, or no line there is a JSON object.
    """
    keys: set[str] = set()
    seen = ""
    for file in files:
        for line in _LINE_END.split(read_head(spark, file, where=where).removeprefix(BOM.encode())):
            seen = seen or line[:60].decode(errors="replace")
            keys |= _keys_of(line)
    if not seen:
        raise InputError(f"{where}: {files[0]} is empty; expected one JSON object per line; replace the file")
    if not keys:
        raise InputError(f"{where}: {files[0]} starts with {seen!r}; expected a JSON object per line; check the format")
    return sorted(keys)


def check_parquet(spark: SparkSession, files: list[str], *, where: str) -> None:
    """Check that every file starts as Parquet does.

    Raises:
        InputError: one that does not.
    """
    for file in files:
        seen = read_head(spark, file, where=where, num_bytes=len(PARQUET_MAGIC))
        if seen != PARQUET_MAGIC:
            raise InputError(f"{where}: {file} starts with {seen!r}; expected Parquet (b'PAR1'); check file and format")


def check_columns(seen: list[str], needed: list[str], *, where: str, path: str) -> None:
    """Check that the columns which the settings name are there.

    Raises:
        InputError: some are not; says so where the delimiter looks wrong.
    """
    missing = sorted(set(needed) - set(seen))
    if not missing:
        return
    if len(seen) == 1:
        for delimiter, looks in _LOOKS_LIKE.items():
            if delimiter in seen[0]:
                raise InputError(
                    f"{where}: the header of {path} is the one column {seen[0]!r}, it looks {looks}; "
                    f"expected {', '.join(needed)}; set format to csv (comma) or tsv (tab), or convert the file"
                )
    raise InputError(
        f"{where}: {path} has no column {', '.join(missing)}; seen {', '.join(seen)}; mend the names in the settings"
    )


def java_line(error: Exception) -> str:
    """What Spark or Hadoop says went wrong and its root cause, in one line."""
    cause = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    if cause is None:
        return _short(str(error))
    top = _short(cause.toString())
    while cause.getCause() is not None:
        cause = cause.getCause()
    root = _short(cause.toString())
    return top if root == top else f"{top}; {root}"


def _short(message: str) -> str:
    return next((line.strip()[:200] for line in message.splitlines() if line.strip()), "unknown error")


def _first_line(head: bytes, file: str, where: str) -> str:
    """The first line that is not blank, as Spark's text reader returns it (a byte order mark apart)."""
    if head[:2] == b"\x1f\x8b":
        raise InputError(f"{where}: {file} is gzip data; expected a name that ends in .gz; rename the file")
    line = next((line for line in _LINE_END.split(head.removeprefix(BOM.encode())) if line.strip()), b"")
    if not line:
        raise InputError(f"{where}: {file} is empty; expected a header line and rows; replace the file")
    if len(line) >= HEAD_BYTES - len(BOM.encode()):
        raise InputError(f"{where}: {file} has no line end in its first {HEAD_BYTES} bytes; expected a header line")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {file} is not UTF-8 text ({error.reason}); convert the file") from error


def _split_header(line: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]


def _keys_of(line: bytes) -> set[str]:
    try:
        row = json.loads(line)
    except ValueError:  # a cut or corrupt line; the rows themselves are judged later
        return set()
    return set(row) if isinstance(row, dict) else set()


def _is_hidden(below: str) -> bool:
    """Whether Spark would skip a file, by the folders between it and the root it was found under."""
    parts = [part for part in below.split("/") if part]
    return any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in parts)


def _hadoop(spark: SparkSession) -> tuple[Any, Any]:
    """Hadoop's Java package and the session's settings of it."""
    jvm = spark._jvm
    assert jvm is not None
    return jvm.org.apache.hadoop, spark._jsparkSession.sessionState().newHadoopConf()
