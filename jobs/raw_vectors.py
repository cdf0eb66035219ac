"""Item texts, or a user's own vectors, in; raw vectors of the chosen encoder out. One function for every encoder."""

from functools import reduce
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import version_of, write_rows
from crossrec_core.errors import InputError
from crossrec_core.frames.items.item_texts import (
    encode_new_texts,
    pick_items,
    to_item_texts,
    with_encoded,
    with_vectors,
)
from crossrec_core.frames.items.own_vectors import (
    UNKNOWN_ITEMS,
    check_vectors,
    count_unknown,
    read_own_vectors,
    to_own_vectors,
)
from crossrec_core.frames.spark.storage import write_table
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.texts.sentences import LoadSentenceEncoder, describe_encoder
from crossrec_core.tensors.texts.text import ENCODER_NAME, LoadTextEncoder, fit_text, save_text
from jobs.lists import workers_per_host
from jobs.store import Store

MIN_TEXTS = 2


class Raw(NamedTuple):
    """Rows (item_num, vector), or None where no item has a text; and what was done."""

    vectors: DataFrame | None
    counts: dict[str, int]


def encode_raw(settings: Settings, store: Store, training_items: DataFrame) -> Raw:
    """Raw vectors of all items by ``text.encoder``; what is fitted is fitted on training items."""
    if settings.text.encoder == "parquet":
        return read_parquet_vectors(settings, store)
    item_texts = to_item_texts(store.read(t.ITEM_FEATURES))
    if settings.text.encoder == "bert":
        return encode_with_bert(settings, store, item_texts)
    return encode_with_lsa(settings, store, item_texts, training_items)


def encode_with_lsa(settings: Settings, store: Store, item_texts: DataFrame, training_items: DataFrame) -> Raw:
    """Fit TF-IDF and SVD on at most ``text.max_fit_items`` texts, which the driver holds; encode all on executors."""
    text, night = settings.text, store.night
    picked = pick_items(item_texts, training_items, max_items=text.max_fit_items).select(c.TEXT)
    sample = [row[c.TEXT] for row in picked.collect()]
    if len(sample) < MIN_TEXTS:
        return Raw(None, {"texts_fitted": 0})
    encoder = fit_text(
        sample, dimensions=text.svd_dimensions, num_buckets=text.num_buckets,
        min_document_count=text.min_document_count, seed=settings.train.seed,
    )  # fmt: skip
    path = night.lake.at(model_location(night.run_id, "text", ENCODER_NAME, "all"))
    save_text(path, encoder)
    return Raw(with_vectors(item_texts, LoadTextEncoder(path)), {"texts_fitted": len(sample)})


def encode_with_bert(settings: Settings, store: Store, item_texts: DataFrame) -> Raw:
    """Encode the texts that no run has encoded with this model, and read the others from text_vectors."""
    text, night = settings.text, store.night
    name = describe_encoder(text.model, max_tokens=text.max_tokens)
    load = LoadSentenceEncoder(
        model=text.model, max_tokens=text.max_tokens, batch_size=text.batch_size, device=settings.train.device,
        threads=settings.score.threads_per_worker, workers_per_host=workers_per_host(store.spark),
    )  # fmt: skip
    since = version_of(night.lake, t.TEXT_VECTORS)
    is_own = F.col(c.ENCODER) == name
    new = encode_new_texts(
        item_texts, store.read_all(t.TEXT_VECTORS).where(is_own), load,
        num_partitions=settings.spark.shuffle_partitions,
    )  # fmt: skip
    rows = new.select(F.lit(night.run_id).alias(c.RUN_ID), F.lit(name).alias(c.ENCODER), c.TEXT_HASH, c.VECTOR)
    num_new = write_table(rows, night.lake, t.TEXT_VECTORS, run_id=night.run_id, append=True, since=since)
    return Raw(with_encoded(item_texts, store.read_all(t.TEXT_VECTORS).where(is_own)), {"texts_encoded": num_new})


def read_parquet_vectors(settings: Settings, store: Store) -> Raw:
    """The users' own vectors; rows of items that nobody knows are counted in data_quality."""
    paths = {name: domain.catalogue for name, domain in settings.domains.items() if domain.catalogue.vectors}
    where = {name: f"domains.{name}.catalogue.vectors" for name in paths}
    frames = [
        read_own_vectors(store.spark, where=where[name], path=block.vectors, item_id=block.item_id).withColumn(
            c.DOMAIN, F.lit(name)
        )
        for name, block in paths.items()
    ]
    vectors, features = reduce(DataFrame.unionByName, frames), store.read(t.ITEM_FEATURES)
    width = check_vectors(vectors, where=list(where.values()))
    unknown = {row[c.DOMAIN]: row[c.NUM_ITEMS] for row in count_unknown(vectors, features).collect()}
    write_unknown({name: unknown.get(name, 0) for name in paths}, store)
    own = to_own_vectors(vectors, features)
    if width is None or own.isEmpty():
        raise InputError(
            f"{', '.join(where.values())}: {sum(unknown.values())} vectors, none of an item that catalogue or log has; "
            f"expected the ids of the log in the column {', '.join(sorted({b.item_id for b in paths.values()}))}"
        )
    return Raw(own, {UNKNOWN_ITEMS: sum(unknown.values())})


def write_unknown(unknown: dict[str, int], store: Store) -> None:
    """Add this step's check to data_quality, which earlier steps of the run have begun."""
    run_id = store.night.run_id
    before = store.read(t.DATA_QUALITY).where(F.col("check") != UNKNOWN_ITEMS).collect()
    rows = [
        {c.RUN_ID: run_id, c.DOMAIN: domain, "check": UNKNOWN_ITEMS, "value": float(count)}
        for domain, count in sorted(unknown.items())
    ]
    kept = [row.asDict() for row in before]
    write_rows(store.night.lake, t.DATA_QUALITY, [*kept, *rows], replace={c.RUN_ID: run_id})
