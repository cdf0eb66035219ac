"""A small Python mapping in, a column that looks it up out."""

from collections.abc import Mapping, Sequence
from itertools import chain

from pyspark.sql import Column
from pyspark.sql import functions as F


def lookup(values: Mapping[str, str | int | float | Sequence[str]], key: str) -> Column:
    """``values[key]`` per row, null where the mapping lacks it; for settings-sized mappings, never for users or items.

    Raises:
        ValueError: an empty mapping, whose type nobody can tell.
    """
    if not values:
        raise ValueError("lookup: an empty mapping has no type; expected at least one entry")
    pairs = chain.from_iterable((F.lit(name), _literal(value)) for name, value in values.items())
    return F.create_map(*pairs)[F.col(key)]


def _literal(value: str | int | float | Sequence[str]) -> Column:
    if isinstance(value, int):
        return F.lit(value).cast("bigint")
    return F.lit(value) if isinstance(value, str | float) else F.array(*map(F.lit, value)).cast("array<string>")
