"""item_features in, one text per item, its raw vector and its item vector out.

An encoder comes as something to call for a function on batches: this room does not know how texts are encoded.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c

VECTOR_SCHEMA = f"{c.ITEM_NUM} bigint, {c.VECTOR} array<float>"
TEXT_VECTOR_SCHEMA = f"{c.TEXT_HASH} string, {c.VECTOR} array<float>"

LoadEncoder = Callable[[], Callable[[Sequence[str]], Any]]


def to_item_texts(item_features: DataFrame) -> DataFrame:
    """One row per item that has a text: its text, else its title. Items sold in several domains keep one of theirs.

    item_num  domain  title  text           item_num  text
    1         a       Tea    null      ->   1         Tea
    1         b       Tea    Tea, black     2         Pan
    2         a       Pan    ""
    """
    text = F.coalesce(F.nullif(F.trim(c.TEXT), F.lit("")), F.nullif(F.trim(c.TITLE), F.lit("")))
    # The longest text, then the alphabet: the same one for any order of rows
    longest = F.max_by(c.TEXT, F.struct(F.length(c.TEXT), F.col(c.TEXT)))
    texts = item_features.select(c.ITEM_NUM, text.alias(c.TEXT)).where(F.col(c.TEXT).isNotNull())
    return texts.groupBy(c.ITEM_NUM).agg(longest.alias(c.TEXT))


def pick_items(rows: DataFrame, items: DataFrame, *, max_items: int) -> DataFrame:
    """At most ``max_items`` rows of the wanted items, picked by a hash of the item number, in that order."""
    wanted = rows.join(items, on=c.ITEM_NUM, how="left_semi")
    return wanted.orderBy(F.xxhash64(c.ITEM_NUM), c.ITEM_NUM).limit(max_items)


def with_vectors(item_texts: DataFrame, load_encoder: LoadEncoder) -> DataFrame:
    """Encode the texts: rows (item_num, vector), without those whose vector is zero.

    ``load_encoder`` is called once per Python worker's task; what it returns maps texts to float32 [N, W].
    """

    def encode_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        encode = load_encoder()
        for batch in batches:
            yield _keep_nonzero(batch[c.ITEM_NUM], encode(batch[c.TEXT].tolist()))

    return item_texts.select(c.ITEM_NUM, c.TEXT).mapInPandas(encode_batches, VECTOR_SCHEMA)


def with_text_hash(item_texts: DataFrame) -> DataFrame:
    """Add what names a text in the table of encoded texts."""
    return item_texts.withColumn(c.TEXT_HASH, F.sha2(c.TEXT, 256))


def encode_new_texts(
    item_texts: DataFrame, encoded: DataFrame, load_encoder: LoadEncoder, *, num_partitions: int
) -> DataFrame:
    """Encode each text once that ``encoded`` lacks: rows (text_hash, vector).

    ``encoded`` has text_hash. The texts are spread over ``num_partitions``, since encoding is what takes the time.
    """
    texts = with_text_hash(item_texts).groupBy(c.TEXT_HASH).agg(F.min(c.TEXT).alias(c.TEXT))
    new = texts.join(encoded, on=c.TEXT_HASH, how="left_anti").repartition(num_partitions, c.TEXT_HASH)

    def encode_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        encode = None
        for batch in batches:
            encode = encode or load_encoder()  # a partition without texts loads no model
            yield pd.DataFrame({c.TEXT_HASH: batch[c.TEXT_HASH], c.VECTOR: list(encode(batch[c.TEXT].tolist()))})

    return new.select(c.TEXT_HASH, c.TEXT).mapInPandas(encode_batches, TEXT_VECTOR_SCHEMA)


def with_encoded(item_texts: DataFrame, encoded: DataFrame) -> DataFrame:
    """The vectors (text_hash, vector) of the items' texts: rows (item_num, vector)."""
    hashed = with_text_hash(item_texts).drop(c.TEXT)
    return hashed.join(encoded, on=c.TEXT_HASH, how="inner").select(c.ITEM_NUM, c.VECTOR)


def with_whitened(raw: DataFrame, load_whitening: Callable[[], Callable[[Any], Any]]) -> DataFrame:
    """Raw vectors (item_num, vector of one width) -> item vectors (item_num, vector), without those that are zero."""

    def whiten_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        whiten = load_whitening()
        for batch in batches:
            if len(batch):
                yield _keep_nonzero(batch[c.ITEM_NUM], whiten(np.stack(batch[c.VECTOR].tolist())))

    return raw.select(c.ITEM_NUM, c.VECTOR).mapInPandas(whiten_batches, VECTOR_SCHEMA)


def _keep_nonzero(nums: pd.Series, vectors_NK: Any) -> pd.DataFrame:
    has_vector_N = vectors_NK.any(axis=1)
    # dtype: without any row pandas takes a column for floats, and Arrow refuses to make lists of it
    vectors = pd.Series(list(vectors_NK[has_vector_N]), dtype=object)
    return pd.DataFrame({c.ITEM_NUM: nums.to_numpy()[has_vector_N], c.VECTOR: vectors})
