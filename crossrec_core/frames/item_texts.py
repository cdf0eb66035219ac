"""item_features in, one text per item and its vector out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c

VECTOR_SCHEMA = f"{c.ITEM_NUM} bigint, {c.VECTOR} array<float>"


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


def pick_texts(item_texts: DataFrame, *, max_items: int) -> DataFrame:
    """At most ``max_items`` rows, picked by a hash of the item number, in that order."""
    return item_texts.orderBy(F.xxhash64(c.ITEM_NUM), c.ITEM_NUM).limit(max_items)


def with_vectors(item_texts: DataFrame, load_encoder: Callable[[], Callable[[Sequence[str]], Any]]) -> DataFrame:
    """Encode the texts: rows (item_num, vector), without those whose vector is zero.

    ``load_encoder`` is called once per Python worker's task; what it returns maps texts to float32 [N, K].
    """

    def encode_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        encode = load_encoder()
        for batch in batches:
            vectors_NK = encode(batch[c.TEXT].tolist())
            has_words = vectors_NK.any(axis=1)
            nums = batch[c.ITEM_NUM].to_numpy()[has_words]
            yield pd.DataFrame({c.ITEM_NUM: nums, c.VECTOR: list(vectors_NK[has_words])})

    return item_texts.select(c.ITEM_NUM, c.TEXT).mapInPandas(encode_batches, VECTOR_SCHEMA)
