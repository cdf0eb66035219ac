"""Amazon logs in, the same logs with items or a domain withheld out: what a product knows when something is new.

Everything is drawn by a hash of names, so that each draw is the same on every machine.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from crossrec_core.demo.world import write_csv

TIMED_LOG = Path("amazon_timed/events.tsv.gz")
ORDERED_LOG = Path("amazon_beauty_sports_toys/events.tsv.gz")
COLD_DOMAINS = ("Beauty", "Toys")
DRAWS = ("draw_1", "draw_2", "draw_3", "draw_4", "draw_5")
WITHHELD = 10  # one item in so many
MIN_KEPT = 3  # leave-one-out holds out nothing of users with fewer events in a domain
FIRST_EVENTS = (0, 10, 100, 1_000)
DAY_S = 86_400
# conf/suites/new_domain.toml: split.cut and split.test_days
CUT_S = int(datetime(2013, 12, 1, tzinfo=UTC).timestamp())
TEST_DAYS = 90
# conf/suites/new_domain_order.toml: the day of the last events, and the day before for all others
LAST_DAY = int(datetime(2002, 9, 27, tzinfo=UTC).timestamp())
KEYS = ("user_id", "domain", "item_id")
Event = tuple[str, str, str, int]  # user, domain, item, and a position or unix seconds


def convert_cold_items(data: Path, work: Path) -> None:
    """``DRAW.tsv``: no event of a withheld item but where it is a user's last one in the domain, the test event."""
    events = [event for event in read_events(data / ORDERED_LOG) if event[1] in COLD_DOMAINS]
    for draw in DRAWS:
        cold = draw_items(events, draw)
        kept = [event for sequence in sequences_of(events) for event in withhold(sequence, cold)]
        write_csv(work / f"{draw}.tsv", (*KEYS, "position"), kept, separator="\t")


def convert_new_domain(data: Path, work: Path) -> None:
    """``DOMAIN_K.tsv``: of the domain, its K earliest events before the cut and those of the test days."""
    events = read_events(data / TIMED_LOG)
    earlier = [event for event in events if event[3] < CUT_S]
    tests = [event for event in events if CUT_S <= event[3] < CUT_S + TEST_DAYS * DAY_S]
    write_new_domains(work, events, earlier=earlier, tests=tests)


def convert_new_domain_order(data: Path, work: Path) -> None:
    """``DOMAIN_K.tsv``: of the domain, each user's last event, a day later, and the K earliest of all others.

    The log has no order between domains: all other events are in one day, a second apart within a user and domain.
    """
    placed, earlier, tests = list[Event](), list[Event](), list[Event]()
    for sequence in sequences_of(read_events(data / ORDERED_LOG)):
        own = [(*event[:3], LAST_DAY - DAY_S + place) for place, event in enumerate(sequence)]
        placed += own
        earlier += own[:-1]
        tests.append((*sequence[-1][:3], LAST_DAY))
    write_new_domains(work, placed, earlier=earlier, tests=tests)


def write_new_domains(work: Path, events: Sequence[Event], *, earlier: Sequence[Event], tests: Sequence[Event]) -> None:
    """A file per domain and number of events: all events of the others, the domain's first of ``earlier``, its tests.

    Events of one moment are in the order of a hash.
    """
    for domain in sorted({event[1] for event in events}):
        own = [event for event in earlier if event[1] == domain]
        own.sort(key=lambda event: (event[3], hash_of(*event[:3])))
        others = [event for event in events if event[1] != domain]
        last = [event for event in tests if event[1] == domain]
        for k in FIRST_EVENTS:
            write_csv(work / f"{domain}_{k}.tsv", (*KEYS, "time"), [*others, *own[:k], *last], separator="\t")


def read_events(path: Path) -> list[Event]:
    """The events of a gzipped log with user, domain, item, and a whole number."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        _, *rows = csv.reader(stream, delimiter="\t")
    return [(user, domain, item, int(number)) for user, domain, item, number in rows]


def draw_items(events: Iterable[Event], draw: str) -> set[tuple[str, str]]:
    """One in ``WITHHELD`` of the (domain, item) of each domain, the first by hash."""
    items: dict[str, set[str]] = {}
    for _, domain, item, _ in events:
        items.setdefault(domain, set()).add(item)
    drawn: set[tuple[str, str]] = set()
    for domain, own in items.items():
        by_hash = sorted(own, key=lambda item: hash_of(draw, domain, item))
        drawn |= {(domain, item) for item in by_hash[: len(own) // WITHHELD]}
    return drawn


def sequences_of(events: Iterable[Event]) -> list[list[Event]]:
    """The events of each user and domain, oldest first."""
    by_user: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        by_user.setdefault(event[:2], []).append(event)
    return [sorted(own, key=lambda event: event[3]) for own in by_user.values()]


def withhold(sequence: Sequence[Event], cold: set[tuple[str, str]]) -> list[Event]:
    """Drop the events of cold items but the last event, which tests; that one too where it would train instead."""
    *before, last = sequence
    kept = [event for event in before if event[1:3] not in cold]
    would_train = len(kept) + 1 < MIN_KEPT
    return kept if last[1:3] in cold and would_train else [*kept, last]


def hash_of(*names: str) -> bytes:
    """What orders names, and favours none."""
    return hashlib.sha256("\t".join(names).encode()).digest()
