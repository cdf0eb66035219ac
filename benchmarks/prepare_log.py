"""Users' histories in, a raw log of any size out: Parquet, a file per day, written in chunks of bounded memory.

U users and E events. A larger log is drawn by users: each comes whole, as a copy with a number of its own, so that
lengths, the shares of domains and the popularity of items stay. The histories know an order only; every copy gets
moments of its own, in sessions that follow the hours of a day. A log is never clean: rows are delivered twice, clocks
are wrong, and some rows name no item.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
NUM_DAYS = 28
VALID_START, TEST_START = FIRST_DAY + timedelta(days=22), FIRST_DAY + timedelta(days=24)
NEWEST = FIRST_DAY + timedelta(days=40)  # later events come from wrong clocks
MILLIS_PER_HOUR = 3_600_000
# Most people come in the evening, few at night
HOUR_SHARES = np.array([3, 2, 1, 1, 1, 2, 4, 6, 6, 6, 6, 7, 8, 8, 7, 7, 8, 9, 11, 13, 14, 13, 10, 6], dtype=float)
EVENTS_PER_SESSION = 25
GAP_MEDIAN_S, GAP_SIGMA = 20.0, 1.0
TWICE_SHARE, WRONG_CLOCK_SHARE = 0.01, 0.002
MIN_DOMAIN_SHARE = 0.005
CHUNK_EVENTS = 1_000_000
LOG_SCHEMA = pa.schema({"user_id": pa.int64(), "domain": pa.int8(), "item_id": pa.int64(), "event_time": pa.int64()})
MADE_DOMAINS, MADE_LENGTH, UNKNOWN_SHARE = 5, 40, 0.2
SKEWED_SHARE, GIANT_EVENTS = 0.8, 1_000_000


@dataclass(frozen=True)
class Histories:
    """Users' events, oldest first: user ``u`` has those from ``starts[u]`` to ``starts[u + 1]``."""

    starts: Ints  # [U + 1]
    domains: Ints  # [E]
    items: Ints  # [E], below 0 where the log does not say

    @property
    def lengths(self) -> Ints:
        """Events of each user [U]."""
        return np.diff(self.starts)

    @property
    def domain_nums(self) -> list[int]:
        """The domains worth a name, ascending: rows of others are rejected, as those of a tab nobody uses would be."""
        numbers, counts = np.unique(self.domains, return_counts=True)
        return [int(number) for number in numbers[counts >= MIN_DOMAIN_SHARE * len(self.domains)]]


def read_histories(file: Path) -> Histories:
    """The histories of a Parquet file with the columns window (a user), position, domain and item."""
    table = pq.read_table(file).sort_by([("window", "ascending"), ("position", "ascending")])
    _, counts = np.unique(table["window"].to_numpy(), return_counts=True)
    domains, items = (table[name].to_numpy().astype(np.int64) for name in ("domain", "item"))
    return Histories(np.concatenate(([0], np.cumsum(counts))), domains, items)


def made_histories(*, events: int, seed: int, is_skewed: bool = False) -> Histories:
    """Made-up histories of at least ``events`` events: few users have most events, few items have most users.

    Skewed, one domain has 80 % of the events instead of 20 %, and one user has a million of them, or a quarter of a
    smaller log.
    """
    generator = np.random.default_rng(seed)
    giant = min(GIANT_EVENTS, events // 4) if is_skewed else 0
    num_users = 1 + (events - giant) // MADE_LENGTH
    lengths = 1 + generator.geometric(1 / (MADE_LENGTH - 1), num_users)
    while lengths.sum() + giant < events:
        lengths = np.append(lengths, 1 + generator.geometric(1 / (MADE_LENGTH - 1), num_users // 20 + 1))
    lengths = np.append(lengths, giant) if giant else lengths
    total, num_items = int(lengths.sum()), 10 + events // 20
    first_share = SKEWED_SHARE if is_skewed else 1 / MADE_DOMAINS
    shares = [first_share] + [(1 - first_share) / (MADE_DOMAINS - 1)] * (MADE_DOMAINS - 1)
    domains = generator.choice(MADE_DOMAINS, size=total, p=shares)
    items = domains * num_items + (generator.random(total) ** 2 * num_items).astype(np.int64)
    items[generator.random(total) < UNKNOWN_SHARE] = -1
    return Histories(np.concatenate(([0], np.cumsum(lengths))), domains, items)


def write_log(histories: Histories, folder: Path, *, events: int, seed: int) -> int:
    """Write a log of ``events`` events or a few more, as users come whole; returns the rows, repeats included.

    The same arguments give the same files. Every user comes once before any comes again.
    """
    folder.mkdir(parents=True)
    num_rows = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(pq.ParquetWriter(folder / f"day-{day:02}.parquet", LOG_SCHEMA))
            for day in range(NUM_DAYS)
        ]
        for rows, day_N in to_chunks(histories, events=events, seed=seed):
            num_rows += len(rows)
            for day, file in enumerate(files):
                file.write_table(rows.filter(pa.array(day_N == day)))
    return num_rows


def to_chunks(histories: Histories, *, events: int, seed: int) -> Iterator[tuple[pa.Table, Ints]]:
    """Rows in order of time and the day each of them was logged on; about ``CHUNK_EVENTS`` at once."""
    generator = np.random.default_rng(seed)
    first_user, left = 0, events
    while left > 0:
        order = generator.permutation(len(histories.lengths))
        ends = np.cumsum(histories.lengths[order])
        order = order[: 1 + np.searchsorted(ends, left)]
        left -= int(histories.lengths[order].sum())
        for users in np.split(order, np.flatnonzero(np.diff(ends[: len(order)] // CHUNK_EVENTS)) + 1):
            yield to_rows(histories, users, first_user=first_user, generator=generator)
            first_user += len(users)


def to_rows(
    histories: Histories, users: Ints, *, first_user: int, generator: np.random.Generator
) -> tuple[pa.Table, Ints]:
    """The events of ``users`` as copies numbered from ``first_user``: in order of time, some of them twice."""
    lengths = histories.lengths[users]
    copy_N = np.repeat(np.arange(len(users)), lengths)
    place_N = np.arange(len(copy_N)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    source_N = histories.starts[users][copy_N] + place_N
    millis_N = to_moments(copy_N, place_N, generator)
    day_N = np.minimum(millis_N // (24 * MILLIS_PER_HOUR), NUM_DAYS - 1)
    shown_N = millis_N + to_millis(FIRST_DAY)
    shown_N[generator.random(len(shown_N)) < WRONG_CLOCK_SHARE] += to_millis(NEWEST)
    times_N = 1 + (generator.random(len(shown_N)) < TWICE_SHARE)
    order_N = np.repeat(np.argsort(millis_N, kind="stable"), times_N)
    items_N = histories.items[source_N][order_N]
    columns = {
        "user_id": pa.array(first_user + copy_N[order_N]),
        "domain": pa.array(histories.domains[source_N][order_N].astype(np.int8)),
        "item_id": pa.array(items_N, mask=items_N < 0),
        "event_time": pa.array(shown_N[order_N]),
    }
    return pa.table(columns, schema=LOG_SCHEMA), day_N[order_N]


def to_moments(copy_N: Ints, place_N: Ints, generator: np.random.Generator) -> Ints:
    """Milliseconds since the first day, rising within a user: no two events of one user share a moment."""
    starts_N = (place_N == 0) | (generator.random(len(place_N)) < 1 / EVENTS_PER_SESSION)
    session_N = np.cumsum(starts_N) - 1
    owner_S = copy_N[starts_N]
    hours_S = generator.choice(24, size=len(owner_S), p=HOUR_SHARES / HOUR_SHARES.sum())
    begin_S = (24 * generator.integers(NUM_DAYS, size=len(owner_S)) + hours_S) * MILLIS_PER_HOUR
    begin_S += generator.integers(MILLIS_PER_HOUR, size=len(owner_S))
    begin_S = begin_S[np.lexsort((begin_S, owner_S))]  # a user's sessions in order of time
    gaps_N = (1000 * GAP_MEDIAN_S * np.exp(GAP_SIGMA * generator.standard_normal(len(place_N)))).astype(np.int64) + 1
    passed_N = np.cumsum(gaps_N)
    moments_N = begin_S[session_N] + passed_N - passed_N[starts_N][session_N]
    # A session that runs into the next one pushes it: the running maximum of each user, one millisecond apart at least
    apart = 2 * (int(moments_N.max()) + len(moments_N))
    return np.maximum.accumulate(moments_N - place_N + copy_N * apart) - copy_N * apart + place_N


def to_millis(moment: datetime) -> int:
    """Unix milliseconds."""
    return round(moment.timestamp() * 1000)
