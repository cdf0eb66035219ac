"""The parity world: its right answers are defined, and its files are what they say."""

import csv
from collections import defaultdict
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from crossrec_core.config import read_config
from crossrec_core.demo.world import BOOKS, DOMAINS, FILMS, World, write_world

NUM_ITEMS = 12


def world_of(folder: Path, *, with_test: bool = True) -> World:
    return write_world(folder, num_users=30, num_items=NUM_ITEMS, num_cold=6, seed=3, with_test=with_test)


def events_of(folder: Path, domain: str) -> list[tuple[str, str, int]]:
    with (folder / f"{domain}.csv").open(encoding="utf-8") as stream:
        return [(row["user_id"], row["item_id"], int(row["timestamp"])) for row in csv.DictReader(stream)]


def cut_of(world: World) -> float:
    cut = date.fromisoformat(read_config(world.config).split.cut)
    return datetime.combine(cut, time(), UTC).timestamp()


def number(name: str) -> int:
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_users_like_items_of_their_parity_only(tmp_path: Path, domain: str) -> None:
    world_of(tmp_path)
    assert all(number(user) % 2 == number(item) % 2 for user, item, _ in events_of(tmp_path, domain))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_right_answer_is_the_one_liked_item_not_touched_before_the_test(tmp_path: Path, domain: str) -> None:
    world = world_of(tmp_path)
    known: dict[str, set[str]] = defaultdict(set)
    tested: dict[str, set[str]] = defaultdict(set)
    for user, item, second in events_of(tmp_path, domain):
        (tested if second >= cut_of(world) else known)[user].add(item)
    for user in world.users:
        (answer,) = world.answers[domain][user]
        assert tested[user] == {answer}
        if domain == BOOKS or user not in world.cold_users:
            assert answer not in known[user]
            liked = {f"{domain[:-1]}{item}" for item in range(number(user) % 2, NUM_ITEMS, 2)}
            assert known[user] | {answer} == liked


def test_the_last_users_have_books_but_no_film_before_the_test(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    before = {user for user, _, second in events_of(tmp_path, FILMS) if second < cut_of(world)}
    assert world.cold_users == tuple(f"user{k}" for k in range(24, 30))
    assert before == set(world.users) - set(world.cold_users)
    assert {user for user, _, _ in events_of(tmp_path, BOOKS)} == set(world.users)


def test_without_test_days_nobody_touches_the_answers(tmp_path: Path) -> None:
    world = world_of(tmp_path, with_test=False)
    assert read_config(world.config).split.test_days == 0
    for domain in DOMAINS:
        touched = {(user, item) for user, item, _ in events_of(tmp_path, domain)}
        assert not touched & {(user, item) for user, items in world.answers[domain].items() for item in items}
    assert len(world.answers[FILMS][world.cold_users[0]]) == NUM_ITEMS // 2


def test_every_answer_was_touched_by_somebody_else_in_training(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    valid_from = cut_of(world) - 30 * 86_400
    trained = {item for _, item, second in events_of(tmp_path, FILMS) if second < valid_from}
    assert trained == {f"film{item}" for item in range(NUM_ITEMS)}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        world_of(tmp_path / folder)
    for name in ("books.csv", "films.csv", "films_items.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("sizes", [{"num_items": 9}, {"num_users": 10, "num_items": 10}, {"num_items": 2}])
def test_a_world_without_right_answers_is_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="num_items"):
        write_world(tmp_path, **sizes)
