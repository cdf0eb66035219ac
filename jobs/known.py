"""A run's tables in, what a purpose knows out: the events that baselines are fitted on, and the candidates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.floors.transitions import with_clock
from crossrec_core.frames.prepared.ids import fingerprint
from crossrec_core.settings import Settings
from crossrec_core.tensors.retrieval.candidates import Candidates, write_candidates
from jobs.likes import like_strengths
from jobs.steps import Night
from jobs.store import Store


@dataclass(frozen=True)
class Known:
    """What one purpose knows, and the candidates its models score."""

    settings: Settings
    store: Store
    purpose: str
    candidates: Candidates
    targets: tuple[str, ...]  # those that have candidates
    events: DataFrame  # with clock
    item_popularity: DataFrame


@contextmanager
def known_for(settings: Settings, night: Night, spark: SparkSession, purpose: str) -> Iterator[Known]:
    """Cache what a purpose knows, and write its candidate artifact."""
    store = Store(spark, night)
    candidates = write_candidates(
        night.lake, night.run_id, purpose, id_fingerprint=fingerprint(store.read_all(t.ITEM_IDS)),
        like_strengths=like_strengths(settings),
    )  # fmt: skip
    targets = tuple(domain for domain in settings.targets if domain in candidates.domains)
    is_known = F.col(c.SPLIT).isin(*c.KNOWN_SPLITS[purpose])
    events = with_clock(store.read(t.SPLIT_INTERACTIONS).where(is_known)).drop(c.RUN_ID, c.VALUE, c.SPLIT).persist()
    popularity = store.read(t.ITEM_POPULARITY).where(F.col(c.PURPOSE) == purpose).drop(c.RUN_ID, c.PURPOSE)
    try:
        yield Known(settings, store, purpose, candidates, targets, events, popularity)
    finally:
        events.unpersist()
