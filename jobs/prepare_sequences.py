"""Split events and truth in, what the networks read out: sequences by purpose, and those of validation users."""

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.prepared.sequences import to_sequences, to_validation_sequences
from crossrec_core.frames.prepared.splits import purposes_of
from crossrec_core.frames.spark.lookups import lookup
from crossrec_core.settings import Settings
from jobs.prepare_events import DOMAIN_KIND, read_labels
from jobs.store import Store


def write_known_sequences(settings: Settings, store: Store) -> dict[str, int]:
    """The sequences that each purpose may know."""
    sequences = to_sequences(
        with_domain_nums(store.read(t.SPLIT_INTERACTIONS), store),
        purposes=prepared_purposes(settings),
        order_only=order_only_domains(settings),
        max_len=settings.sequences.max_len,
        session_gap_minutes=settings.sequences.session_gap_minutes,
        earlier_parts=settings.sequences.earlier_parts,
    )
    return write_sequences(sequences, settings, store)


def write_sequences(sequences: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """The latest events of every sequence; where the settings ask for them, the stretches before those beside them."""
    key = [c.PURPOSE, c.USER_NUM, c.CLOCK]
    latest = F.col(c.PART) == 0
    if not settings.sequences.earlier_parts:
        return store.write(in_stable_files(sequences.where(latest), key, settings), t.SEQUENCES)
    sequences = sequences.persist(StorageLevel.DISK_ONLY)  # two tables of one shuffle and sort
    try:
        counts = store.write(in_stable_files(sequences.where(latest), key, settings), t.SEQUENCES)
        earlier = in_stable_files(sequences.where(~latest), [*key, c.PART], settings)
        return counts | store.write(earlier, t.EARLIER_SEQUENCES)
    finally:
        sequences.unpersist()


def write_validation(truth: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """Sequences of sampled users that were known and have a known item to foresee."""
    is_usable = (F.col(c.PURPOSE) == c.VALIDATE) & F.col(c.IS_KNOWN_ITEM) & (F.col(c.SEGMENT) != c.NEW)
    sequences = to_validation_sequences(
        truth.where(is_usable), store.read(t.SEQUENCES), domain_nums=read_labels(DOMAIN_KIND, store),
        order_only=order_only_domains(settings), max_users=settings.split.max_validation_users,
        max_len=settings.sequences.max_len,
    )  # fmt: skip
    return store.write(in_stable_files(sequences, [c.DOMAIN, c.USER_NUM], settings), t.VALIDATION_SEQUENCES)


def with_domain_nums(events: DataFrame, store: Store) -> DataFrame:
    """Add the number of the domain."""
    return events.withColumn(c.DOMAIN_NUM, lookup(read_labels(DOMAIN_KIND, store), c.DOMAIN))


def in_stable_files(rows: DataFrame, order: list[str], settings: Settings) -> DataFrame:
    """The same rows in the same files in the same order on every run: the feed's batches follow the files."""
    return rows.repartition(settings.spark.shuffle_partitions, c.USER_NUM).sortWithinPartitions(*order)


def prepared_purposes(settings: Settings) -> list[str]:
    """The purposes that the settings hold events out for, and serve."""
    return purposes_of(hold_test=settings.split.test_days > 0, hold_valid=settings.split.valid_days > 0)


def order_only_domains(settings: Settings) -> list[str]:
    """Domains whose log holds positions, not times."""
    return [name for name, domain in settings.domains.items() if domain.time_unit == "order"]
