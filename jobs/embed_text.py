"""item_features in, item_vectors of the embedded text encoder out.

item_features -> one text per item -> fit on a bounded sample -> encode all, on the executors -> item_vectors
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.item_texts import VECTOR_SCHEMA, pick_texts, to_item_texts, with_vectors
from crossrec_core.frames.storage import read_table, write_table
from crossrec_core.lake import model_location
from crossrec_core.settings import Settings
from crossrec_core.tensors.text import ENCODER_NAME, LoadTextEncoder, fit_text, save_text
from jobs.steps import Night, step_command

MIN_TEXTS = 2


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Turn item texts into vectors."""
    item_texts = to_item_texts(read_table(spark, night.lake, t.ITEM_FEATURES, run_id=night.run_id))
    sample = [row[c.TEXT] for row in _pick(settings, item_texts)]
    vectors = spark.createDataFrame([], VECTOR_SCHEMA)
    if len(sample) >= MIN_TEXTS:
        path = night.lake.at(model_location(night.run_id, "text", ENCODER_NAME, "all"))
        text = settings.text
        encoder = fit_text(
            sample, dimensions=text.dimensions, num_buckets=text.num_buckets,
            min_document_count=text.min_document_count, seed=settings.train.seed,
        )  # fmt: skip
        save_text(path, encoder)
        vectors = with_vectors(item_texts, LoadTextEncoder(path))
    stored = vectors.select(F.lit(night.run_id).alias(c.RUN_ID), F.lit(ENCODER_NAME).alias(c.ENCODER), "*")
    num_vectors = write_table(stored, night.lake, t.ITEM_VECTORS, run_id=night.run_id)
    return {"texts_fitted": len(sample), t.ITEM_VECTORS.name: num_vectors}


def _pick(settings: Settings, item_texts: DataFrame) -> list:  # type: ignore[type-arg]
    """The texts to fit on: at most ``text.max_fit_items`` of them are held on the driver."""
    if settings.text.dimensions == 0:
        return []
    return pick_texts(item_texts, max_items=settings.text.max_fit_items).select(c.TEXT).collect()


main = step_command("embed_text", run)

if __name__ == "__main__":
    typer.run(main)
