"""item_features in, item_vectors and item_attributes out: what the models know of an item besides its number.

item_features -> one text per item -> raw vectors of the chosen encoder -> whitening, fitted on training items
              -> attribute values, those that enough training items have
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.items.item_attributes import number_attributes, to_attribute_values, to_item_attributes
from crossrec_core.frames.items.item_texts import VECTOR_SCHEMA, pick_items, with_whitened
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.texts.whitening import LoadWhitening, fit_whitening, save_whitening
from jobs.raw_vectors import Raw, encode_raw
from jobs.steps import Night, step_command
from jobs.store import Store
from jobs.whitening_sample import read_edges, read_sample


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Turn item texts into vectors, and item attributes into numbers."""
    store = Store(spark, night)
    training_items = store.read(t.SPLIT_INTERACTIONS).where(F.col(c.SPLIT) == c.TRAIN).select(c.ITEM_NUM).distinct()
    training_items = training_items.cache()
    try:
        return write_vectors(settings, store, training_items) | write_attributes(settings, store, training_items)
    finally:
        training_items.unpersist()


def write_vectors(settings: Settings, store: Store, training_items: DataFrame) -> dict[str, int]:
    """Encode and whiten: rows of item_vectors for every item with a text, listed ones included."""
    raw = encode_raw(settings, store, training_items) if settings.text.dimensions else Raw(None, {})
    vectors = store.spark.createDataFrame([], VECTOR_SCHEMA)
    if raw.vectors is not None:
        vectors = _whitened(settings, store, raw.vectors, training_items)
    return raw.counts | store.write(vectors.withColumn(c.ENCODER, F.lit(settings.text.encoder)), t.ITEM_VECTORS)


def _whitened(settings: Settings, store: Store, raw: DataFrame, training_items: DataFrame) -> DataFrame:
    text, night = settings.text, store.night
    sample = read_sample(pick_items(raw, training_items, max_items=text.max_fit_items))
    if len(sample.nums_N) == 0:
        return raw.where(F.lit(False))
    edges = read_edges(settings, store, sample.nums_N) if text.rec_pca_gamma > 0 else None
    whitening = fit_whitening(sample.raw_NW, dimensions=text.dimensions, edges=edges, gamma=text.rec_pca_gamma)
    path = night.lake.at(model_location(night.run_id, "text", "whitening", "all"))
    save_whitening(path, whitening)
    return with_whitened(raw, LoadWhitening(path))


def write_attributes(settings: Settings, store: Store, training_items: DataFrame) -> dict[str, int]:
    """Number the attribute values and give each item its numbers."""
    rules, features = settings.attributes, store.read(t.ITEM_FEATURES)
    if rules.max_per_item == 0:
        features = features.where(F.lit(False))
    values = to_attribute_values(features, training_items, number_buckets=rules.number_buckets)
    counts = store.write(number_attributes(values, training_items, min_items=rules.min_items), t.ATTRIBUTE_IDS)
    items = to_item_attributes(values, store.read(t.ATTRIBUTE_IDS), max_per_item=rules.max_per_item)
    return counts | store.write(items, t.ITEM_ATTRIBUTES)


main = step_command("embed_text", run)

if __name__ == "__main__":
    typer.run(main)
