"""A seed in, two small platforms out: logs, catalogues and settings of a world whose right answers are known.

Even users like even items, odd users odd ones, in 'books' as in 'films'. User k has touched every item of their kind
but item k (modulo the number of items), so that is the right answer. The last users have books only: what they like of
the films can come from nowhere but their books.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

BOOKS, FILMS = "books", "films"
DOMAINS = (BOOKS, FILMS)
FIRST_DAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAY_S = 86_400
# Days of the log: training up to 90, then 30 of validation, then 30 of test
TRAIN_DAYS, VALID_DAYS, TEST_DAYS = 90, 30, 30

EVENT_HEADER = ("user_id", "item_id", "timestamp")
ITEM_HEADER = ("item_id", "title", "categories")


@dataclass(frozen=True)
class World:
    """Where a world was written and what is right in it."""

    config: Path
    users: tuple[str, ...]
    cold_users: tuple[str, ...]  # no film before the test: only their books can answer
    answers: dict[str, dict[str, frozenset[str]]]  # domain -> user -> the items that are right for them


def write_world(
    folder: str | Path,
    *,
    num_users: int = 60,
    num_items: int = 20,
    num_cold: int = 10,
    seed: int = 7,
    with_test: bool = True,
) -> World:
    """Write ``books.csv``, ``films.csv``, their ``*_items.csv`` and ``world.toml`` into ``folder``.

    ``num_items`` is even and counts each domain. With ``with_test`` the right item of each user is their event in the
    last 30 days; without, nobody ever touches it and it must top the lists that are served. The 30 days before
    validate.

    Raises:
        ValueError: sizes that leave a user without a right answer.
    """
    if num_items % 2 or num_items < 8 or num_cold >= num_users or num_users < num_items + num_cold:
        raise ValueError("world: expected an even num_items >= 8 and num_users >= num_items + num_cold")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    first_cold = num_users - num_cold
    for domain in DOMAINS:
        events = [
            event
            for user in range(num_users)
            for event in _user_events(
                user, domain, num_items, generator, is_cold=domain == FILMS and user >= first_cold, with_test=with_test
            )
        ]
        write_csv(root / f"{domain}.csv", EVENT_HEADER, events)
        write_csv(root / f"{domain}_items.csv", ITEM_HEADER, _catalogue(domain, num_items))
    config = root / "world.toml"
    config.write_text(_settings(root, with_test), encoding="ascii")
    users = tuple(user_name(user) for user in range(num_users))
    return World(config, users, users[first_cold:], _answers(num_users, num_items, first_cold, with_test))


def user_name(user: int) -> str:
    """The outside id of user k."""
    return f"user{user}"


def item_name(domain: str, item: int) -> str:
    """The outside id of item k of a domain."""
    return f"{domain[:-1]}{item}"


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], *, separator: str = ",") -> None:
    """Write a header and rows as CSV, or as TSV with another separator."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _user_events(
    user: int, domain: str, num_items: int, generator: np.random.Generator, *, is_cold: bool, with_test: bool
) -> Iterator[tuple[str, str, int]]:
    """A user's events in one domain: all liked items but the right one, two of them in the validation days."""
    right = user % num_items
    liked = [item for item in range(right % 2, num_items, 2) if item != right]
    order = generator.permutation(liked)
    seconds = np.concatenate(
        (
            np.sort(generator.integers(0, TRAIN_DAYS * DAY_S, len(order) - 2)),
            TRAIN_DAYS * DAY_S + np.sort(generator.integers(0, VALID_DAYS * DAY_S, 2)),
        )
    )
    test_second = (TRAIN_DAYS + VALID_DAYS) * DAY_S + int(generator.integers(0, TEST_DAYS * DAY_S))
    if not is_cold:
        for item, second in zip(order, seconds, strict=True):
            yield user_name(user), item_name(domain, int(item)), FIRST_DAY + int(second)
    if with_test:
        yield user_name(user), item_name(domain, right), FIRST_DAY + test_second


def _catalogue(domain: str, num_items: int) -> list[tuple[str, str, str]]:
    kinds = ("even", "odd")
    return [
        (item_name(domain, item), f"{kinds[item % 2].title()} {domain[:-1]} {item}", f"{domain}|{kinds[item % 2]}")
        for item in range(num_items)
    ]


def _answers(num_users: int, num_items: int, first_cold: int, with_test: bool) -> dict[str, dict[str, frozenset[str]]]:
    """The item nobody let the user touch; for a cold user without test days every film of their kind."""
    answers: dict[str, dict[str, frozenset[str]]] = {domain: {} for domain in DOMAINS}
    for domain in DOMAINS:
        for user in range(num_users):
            right = {item_name(domain, user % num_items)}
            if domain == FILMS and user >= first_cold and not with_test:
                right = {item_name(domain, item) for item in range(user % 2, num_items, 2)}
            answers[domain][user_name(user)] = frozenset(right)
    return answers


def _settings(root: Path, with_test: bool) -> str:
    blocks = [f"[split]\ntest_days = {TEST_DAYS if with_test else 0}\nvalid_days = {VALID_DAYS}\n"]
    start = datetime.fromtimestamp(FIRST_DAY + (TRAIN_DAYS + VALID_DAYS) * DAY_S, UTC).date()
    blocks[0] += f'cut = "{start.isoformat()}"\n'
    for domain in DOMAINS:
        blocks.append(
            f'[domains.{domain}]\npath = "{root / domain}.csv"\nevent_time = "timestamp"\n\n'
            f'[domains.{domain}.catalogue]\npath = "{root / domain}_items.csv"\ntitle = "title"\n'
            f'text = ["title"]\ncategories = "categories"\n'
        )
    lake = f'[lake]\npath = "{root / "lake"}"\n'
    sizes = "[score]\nn = 10\n\n[evaluate]\nn = [1, 5, 10]\nbootstrap_samples = 50\n"
    return "\n".join([lake, *blocks, sizes])
