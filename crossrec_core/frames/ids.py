"""Outside ids in, dense numbers out: append-only, from 1, 0 kept for padding."""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.frames.numbering import with_position

MIN_MATCHED_SHARE = 0.01
_INTEGER = r"^-?[0-9]+$"


def append_numbers(
    existing: DataFrame, names: DataFrame, *, keys: Sequence[str], number: str, run_id: str
) -> DataFrame:
    """The rows that a run holds in an id table: those it had, and one per new name.

    ``existing`` holds every run's rows (run_id, *keys, number), ``names`` the keys seen now, repeats allowed. New names
    are numbered in hash order after the largest number given so far; a number once given never changes, whichever
    runs are repeated in whatever order.

    existing: run a: x 1, y 2     names: y, z, w     ->   run b: w 3, z 4   (or z 3, w 4, as their hashes say)
    """
    known = existing.select(*keys)
    new = names.select(*keys).distinct().join(known, on=list(keys), how="left_anti")
    largest = existing.agg(F.coalesce(F.max(number), F.lit(0)).alias("largest")).collect()[0]["largest"]
    numbered = with_position(new, within=[], by=keys, position=number)
    own = existing.where(F.col(c.RUN_ID) == run_id).select(*keys, number)
    return own.unionByName(numbered.select(*keys, (F.col(number) + 1 + largest).cast("bigint").alias(number)))


def number_labels(
    existing: Mapping[tuple[str, str], int], names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Numbers of (kind, name) labels, domains and actions: old ones unchanged, new ones after them in name order.

    Each kind counts from 1. Labels come from the settings: there are a few dozen at most.
    """
    numbers = dict(existing)
    for kind, name in sorted(set(names) - set(existing)):
        numbers[kind, name] = 1 + max((num for (other, _), num in numbers.items() if other == kind), default=0)
    return numbers


def check_id_types(existing: DataFrame, names: DataFrame, *, space: str, name: str, table: str) -> None:
    """Refuse a log whose ids have turned from integers into text, or back, since the runs before.

    Both frames hold ``space`` and ``name``; ``existing`` must not hold rows of the run itself.

    Raises:
        LakeError: in a space under 1 % of the names are known, and all known ones were integers and not all new ones
            are, or the reverse.
    """
    sides = _describe(existing, space, name, "old").join(
        _describe(names, space, name, "new"), on=[space, name], how="full"
    )
    both = F.col("old").isNotNull() & F.col("new").isNotNull()
    spaces = sides.groupBy(space).agg(
        F.count("old").alias("num_old"),
        F.count("new").alias("num_new"),
        F.count_if(both).alias("num_matched"),
        F.bool_and("old").alias("old_integers"),
        F.bool_and("new").alias("new_integers"),
        F.min(F.when(F.col("new").isNotNull(), F.col(name))).alias("example"),
    )
    for row in spaces.where((F.col("num_old") > 0) & (F.col("num_new") > 0)).orderBy(space).collect():
        few = row["num_matched"] < MIN_MATCHED_SHARE * row["num_new"]
        if few and row["old_integers"] != row["new_integers"]:
            was, now = ("integers", "text") if row["old_integers"] else ("text", "integers")
            raise LakeError(
                f"{table}: ids of space {row[space]!r} were {was}, this run's are {now} (e.g. {row['example']!r}), and "
                f"{row['num_matched']} of {row['num_new']} are known; expected ids of one type; mend the id column of "
                "the log, or use a new lake.path"
            )


def fingerprint(item_ids: DataFrame) -> str:
    """One short text for a whole item id table, whatever its rows' order: what checkpoints are checked against."""
    hashed = F.xxhash64(c.ITEM_SPACE, c.ITEM_ID, c.ITEM_NUM)
    row = item_ids.agg(
        F.bit_xor(hashed).alias("mix"), F.count(F.lit(1)).alias("rows"), F.max(c.ITEM_NUM).alias("largest")
    ).collect()[0]
    return f"{(row['mix'] or 0) % 2**64:016x}-{row['rows']:x}-{row['largest'] or 0:x}"


def _describe(names: DataFrame, space: str, name: str, side: str) -> DataFrame:
    """The distinct names, and in column ``side`` whether each looks like an integer."""
    return names.select(space, name).distinct().withColumn(side, _is_integer(F.col(name)))


def _is_integer(name: Column) -> Column:
    return name.rlike(_INTEGER)
