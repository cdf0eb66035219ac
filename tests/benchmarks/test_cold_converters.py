"""Logs with items or a domain withheld, of made-up ones."""

import csv
import gzip
from pathlib import Path

import pytest

from benchmarks.quality_suites.cold_converters import (
    CUT_S,
    DAY_S,
    DRAWS,
    FIRST_EVENTS,
    LAST_DAY,
    MIN_KEPT,
    ORDERED_LOG,
    TEST_DAYS,
    TIMED_LOG,
    draw_items,
    read_events,
)
from benchmarks.quality_suites.converters import CONVERTERS
from benchmarks.quality_suites.finished import Places
from benchmarks.quality_suites.nights import part_settings
from benchmarks.quality_suites.suite import read_suite, suite_file

Rows = list[tuple[str, ...]]


def write_log(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True)
    lines = ["\t".join(row) for row in [("user_id", "domain", "item_id", "number"), *rows]]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def read(path: Path) -> list[tuple[str, str, str, int]]:
    with path.open(encoding="utf-8", newline="") as stream:
        _, *rows = csv.reader(stream, delimiter="\t")
    return [(user, domain, item, int(number)) for user, domain, item, number in rows]


def by_sequence(events):
    found = {}
    for user, domain, item, number in sorted(events, key=lambda event: event[3]):
        found.setdefault((user, domain), []).append((item, number))
    return found


@pytest.fixture(scope="module")
def ordered(tmp_path_factory) -> Path:
    """A hundred users with 3 to 9 of 40 items in Beauty, Toys and Sports, in an order of their own."""
    data = tmp_path_factory.mktemp("data")
    rows = [
        (f"u{user}", domain, f"i{(user * 7 + place * 11) % 40}", str(place))
        for domain in ("Beauty", "Sports", "Toys")
        for user in range(100)
        for place in range(3 + user % 7)
    ]
    write_log(data / ORDERED_LOG, rows[::-1])
    return data


def convert(name: str, data: Path) -> Path:
    work = data / name
    work.mkdir(exist_ok=True)
    CONVERTERS[name](data, work)
    return work


def test_withheld_items_are_neither_trained_on_nor_validated(ordered):
    work = convert("cold_items", ordered)
    raw = [event for event in read_events(ordered / ORDERED_LOG) if event[1] != "Sports"]
    lasts = {key: sequence[-1] for key, sequence in by_sequence(raw).items()}
    num_cold_tests = 0
    for draw in DRAWS:
        cold = draw_items(raw, draw)
        assert len(cold) == 2 * 4
        for (user, domain), kept in by_sequence(read(work / f"{draw}.tsv")).items():
            *before, last = kept
            assert all((domain, item) not in cold for item, _ in before)
            if (domain, last[0]) in cold:
                assert last == lasts[user, domain]
                assert len(kept) >= MIN_KEPT, "leave-one-out would train on it"
                num_cold_tests += 1
            else:
                assert last == lasts[user, domain] or (domain, lasts[user, domain][0]) in cold
    assert num_cold_tests > 5 * 10


def test_draws_differ_and_nothing_else_is_lost(ordered):
    work = convert("cold_items", ordered)
    raw = [event for event in read_events(ordered / ORDERED_LOG) if event[1] != "Sports"]
    draws = [draw_items(raw, draw) for draw in DRAWS]
    assert len({frozenset(cold) for cold in draws}) == len(DRAWS)
    for draw, cold in zip(DRAWS, draws, strict=True):
        kept = read(work / f"{draw}.tsv")
        assert sorted(event for event in kept if event[1:3] not in cold) == sorted(
            event for event in raw if event[1:3] not in cold
        )


def test_a_new_domain_keeps_its_earliest_events_and_those_of_the_test_days(tmp_path):
    rows = [(f"u{n}", domain, f"i{n}", str(CUT_S - (n + 1) * DAY_S)) for domain in ("Food", "Book") for n in range(30)]
    window = [("u0", "Food", "t1", CUT_S), ("u0", "Food", "t2", CUT_S + TEST_DAYS * DAY_S - 1)]
    after = ("u0", "Food", "late", CUT_S + TEST_DAYS * DAY_S)
    write_log(tmp_path / TIMED_LOG, [*rows, *[(*event[:3], str(event[3])) for event in (*window, after)]])
    work = convert("new_domain", tmp_path)
    for k in FIRST_EVENTS:
        events = read(work / f"Food_{k}.tsv")
        assert [event for event in events if event[1] == "Book"] == read_books(tmp_path)
        own = [event for event in events if event[1] == "Food"]
        assert own[-2:] == window
        assert [event[2] for event in own[:-2]] == [f"i{n}" for n in range(29, 29 - min(k, 30), -1)]


@pytest.mark.parametrize(
    ("name", "log"), [("new_domain", "timed"), ("new_domain_order", "ordered"), ("cold_items", "ordered")]
)
def test_every_part_reads_columns_that_its_file_has(name, log, ordered, tmp_path):
    if log == "timed":
        rows = [("u", domain, "i", str(CUT_S - DAY_S)) for domain in ("Book", "Food", "Kitchen", "Movie")]
        write_log(tmp_path / TIMED_LOG, rows)
    convert(name, ordered if log == "ordered" else tmp_path)
    places = Places(tmp_path, tmp_path if log == "timed" else ordered, tmp_path)
    suite = read_suite(suite_file(name))
    for part in suite.parts:
        for cut in suite.cuts or ("",):
            for domain in part_settings(suite, part, cut, suite.seeds[0], places, {}).domains.values():
                with Path(domain.path).open(encoding="utf-8") as stream:
                    header = stream.readline().split()
                assert {domain.user_id, domain.item_id, domain.event_time, domain.domain_column} <= set(header)


def read_books(data: Path):
    return [event for event in read_events(data / TIMED_LOG) if event[1] == "Book"]


def test_a_new_domain_without_a_clock_is_tested_on_every_users_last_event(ordered):
    work = convert("new_domain_order", ordered)
    raw = by_sequence(read_events(ordered / ORDERED_LOG))
    for k in FIRST_EVENTS:
        found = by_sequence(read(work / f"Toys_{k}.tsv"))
        known = 0
        for (user, domain), events in found.items():
            items = [item for item, _ in raw[user, domain]]
            if domain != "Toys":
                assert [item for item, _ in events] == items
                assert all(LAST_DAY - DAY_S <= second < LAST_DAY for _, second in events)
                continue
            assert events[-1] == (items[-1], LAST_DAY)
            assert [item for item, _ in events[:-1]] == items[: len(events) - 1]
            known += len(events) - 1
        assert known == min(k, sum(len(items) - 1 for (_, domain), items in raw.items() if domain == "Toys"))
