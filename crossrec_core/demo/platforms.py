"""A seed in, two film platforms out: what stands in for MovieLens where it cannot be had.

A rich platform of 2000 and a thin one of 1997 share titles (the item ids) but no user and no day. Users have a taste in
genres, titles a popularity; ratings follow the taste. Item ids, columns and files are those of ``movielens.fetch``.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossrec_core.demo.world import DAY_S, write_csv

RICH, THIN = "ml_1m", "ml_100k"
LOG_FILE, ITEM_FILE = "ratings.tsv", "items.tsv"
LOG_HEADER = ("user_id", "item_id", "rating", "timestamp")
ITEM_HEADER = ("item_id", "title", "year", "genres")
GENRES = ("Action", "Comedy", "Drama", "Horror", "Musical", "Romance", "Thriller", "Western")
FIRST_WORDS = ("Silent", "Golden", "Broken", "Distant", "Burning", "Hidden", "Lonely", "Crimson", "Last", "Electric")
LAST_WORDS = ("River", "Promise", "Station", "Garden", "Winter", "Mirror", "Parade", "Harbour", "Letter", "Machine")
RICH_FROM, THIN_FROM = datetime(2000, 4, 25, tzinfo=UTC), datetime(1997, 9, 20, tzinfo=UTC)
LOG_DAYS = 200
SHARPNESS = 3.0  # how strongly taste decides what a user watches


def write_two_platforms(
    folder: str | Path,
    *,
    seed: int = 5,
    rich_users: int = 1500,
    thin_users: int = 300,
    num_items: int = 600,
    rich_events: int = 60,
    thin_events: int = 25,
) -> dict[str, Path]:
    """Write ``ml_1m/`` and ``ml_100k/`` (log and catalogue each) into ``folder``; returns their folders by domain.

    ``rich_events`` and ``thin_events`` are the mean events of a user; the thin platform lists two thirds of the titles.
    """
    generator = np.random.default_rng(seed)
    titles, genres = _titles(num_items), _genres_of(num_items, generator)
    popularity_I = np.power(1.0 + generator.permutation(num_items).astype(np.float64), -0.6)
    thin_items = np.sort(generator.permutation(num_items)[: 2 * num_items // 3])
    folders = {}
    for domain, start, items, num_users, mean_events in (
        (RICH, RICH_FROM, np.arange(num_items), rich_users, rich_events),
        (THIN, THIN_FROM, thin_items, thin_users, thin_events),
    ):
        home = Path(folder) / domain
        home.mkdir(parents=True, exist_ok=True)
        prefix = domain.removeprefix("ml_")  # users are named as in the wheel that holds MovieLens
        rows: list[tuple[str, str, int, int]] = []
        for user in range(num_users):
            events = _watch(genres[items], popularity_I[items], mean_events, generator)
            rows += [
                (f"{prefix}_{user + 1}", titles[items[item]], rating, int(start.timestamp()) + second)
                for item, rating, second in events
            ]
        write_csv(home / LOG_FILE, LOG_HEADER, rows, separator="\t")
        write_csv(home / ITEM_FILE, ITEM_HEADER, [_listing(titles[i], genres[i]) for i in items], separator="\t")
        folders[domain] = home
    return folders


def _titles(num_items: int) -> list[str]:
    words = len(FIRST_WORDS) * len(LAST_WORDS)
    return [
        f"{FIRST_WORDS[item % len(FIRST_WORDS)]} {LAST_WORDS[item // len(FIRST_WORDS) % len(LAST_WORDS)]} "
        f"{1 + item // words} ({1950 + item * 7 % 47})"
        for item in range(num_items)
    ]


def _genres_of(num_items: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """float64 [items, genres]: 1 for the one or two genres of an item."""
    main = generator.integers(0, len(GENRES), num_items)
    other = generator.integers(0, len(GENRES), num_items)
    return np.maximum(np.eye(len(GENRES))[main], np.eye(len(GENRES))[other] * (other % 2 == 0)[:, None])


def _watch(
    genres_IG: NDArray[np.float64],
    popularity_I: NDArray[np.float64],
    mean_events: int,
    generator: np.random.Generator,
) -> list[tuple[int, int, int]]:
    """One user's (item, rating, second), in time order: popular titles of the genres they like."""
    taste_G = generator.dirichlet(np.full(len(GENRES), 0.4))
    liking_I = genres_IG @ taste_G
    chance_I = popularity_I * np.exp(SHARPNESS * liking_I)
    num_events = min(len(liking_I), 10 + int(generator.geometric(1.0 / max(1, mean_events - 10))))
    items = generator.choice(len(liking_I), num_events, replace=False, p=chance_I / chance_I.sum())
    ratings = np.clip(np.rint(2.5 + 2.5 * liking_I[items] + generator.normal(0, 0.7, num_events)), 1, 5)
    begin = int(generator.integers(0, (LOG_DAYS - 30) * DAY_S))
    seconds = begin + np.sort(generator.integers(0, 30 * DAY_S, num_events))
    return [(int(i), int(r), int(s)) for i, r, s in zip(items, ratings, seconds, strict=True)]


def _listing(title: str, genres_G: NDArray[np.float64]) -> tuple[str, str, str, str]:
    names = "|".join(name for name, has in zip(GENRES, genres_G, strict=True) if has)
    return title, title.rsplit(" (", 1)[0], title[-5:-1], names
