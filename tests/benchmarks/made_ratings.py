"""Films of two genres, users who love one of them: what a film's mean says, and what a few ratings add to it."""

import pandas as pd
import torch

from benchmarks.fewshot_suite.ratings import Ratings, to_ratings

NUM_USERS, NUM_FILMS, NUM_RATED = 120, 40, 24


def made_tables(num_users: int = NUM_USERS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """events and films as ``to_ratings`` takes them: a rating is the film's quality and half the user's taste."""
    generator = torch.Generator().manual_seed(7)
    rows = []
    for user in range(num_users):
        films = torch.randperm(NUM_FILMS, generator=generator)[:NUM_RATED].tolist()
        for place, film in enumerate(films):
            quality = 3 + (film % 5 - 2) / 2
            taste = 1.5 if film % 2 == user % 2 else -1.5
            noise = float(torch.randn((), generator=generator)) / 2
            rating = min(5, max(1, round(quality + taste + noise)))
            rows.append((f"u{user:03d}", f"film {film:02d}", str(rating), str(1000 + place)))
    films = [
        (f"film {film:02d}", f"film {film}", str(1950 + film), ("Comedy", "War")[film % 2]) for film in range(NUM_FILMS)
    ]
    return (
        pd.DataFrame(rows, columns=["user", "item", "rating", "time"]),
        pd.DataFrame(films, columns=["item", "title", "year", "genres"]),
    )


def made_ratings() -> Ratings:
    """The same as tensors."""
    return to_ratings(*made_tables())
