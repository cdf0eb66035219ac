"""Outside ids in, dense numbers out: append-only, from 1, 0 kept for padding."""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.errors import LakeError
from crossrec_core.frames.prepared.numbering import with_position

MIN_MATCHED_SHARE = 0.01
_INTEGER = r"^-?[0-9]+$"


def new_names(names: DataFrame, existing: DataFrame, *, keys: Sequence[str]) -> DataFrame:
    """The keys of ``names`` (repeats allowed) that no run has numbered, each once; ``existing`` is of every run."""
    return names.select(*keys).distinct().join(existing.select(*keys), on=list(keys), how="left_anti")


def append_numbers(existing: DataFrame, new: DataFrame, *, keys: Sequence[str], number: str, run_id: str) -> DataFrame:
    """The rows that a run holds in an id table: those it had, and one per new name.

    ``existing`` holds every run's rows (run_id, *keys, number), ``new`` what ``new_names`` gives. New names are
    numbered in hash order after the largest number given so far; a number once given never changes, whichever runs are
    repeated in whatever order.

    existing: run a: x 1, y 2     new: z, w     ->   run b: w 3, z 4   (or z 3, w 4, as their hashes say)
    """
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


def check_id_types(
    others: DataFrame, names: DataFrame, new: DataFrame, *, space: str, name: str, table: str
) -> None:  # fmt: skip
    """Refuse a log whose ids have turned from integers into text, or back, since the runs before.

    All hold ``space`` and ``name``, each pair once: ``others`` what other runs have numbered, ``names`` what is seen
    now and ``new`` the part of it that no run has numbered.

    Raises:
        LakeError: in a space under 1 % of the names are known, and all known ones were integers and not all new ones
            are, or the reverse.
    """
    is_integer = F.bool_and(F.col(name).rlike(_INTEGER))
    old = others.groupBy(space).agg(F.count(name).alias("num_old"), is_integer.alias("old_integers"))
    now = names.groupBy(space).agg(F.count(name).alias("num_now"), is_integer.alias("now_integers"))
    unknown = new.groupBy(space).agg(F.count(name).alias("num_unknown"))
    spaces = now.join(old, on=space, how="inner").join(unknown, on=space, how="left")
    for row in spaces.orderBy(space).collect():
        num_matched = row["num_now"] - (row["num_unknown"] or 0)
        if num_matched < MIN_MATCHED_SHARE * row["num_now"] and row["old_integers"] != row["now_integers"]:
            before, after = ("integers", "text") if row["old_integers"] else ("text", "integers")
            example = names.where(F.col(space) == row[space]).agg(F.min(name)).collect()[0][0]
            raise LakeError(
                f"{table}: ids of space {row[space]!r} were {before}, this run's are {after} (e.g. {example!r}),"
                f" and {num_matched} of {row['num_now']} are known; expected ids of one type; mend the id column of "
                "the log, or use a new lake.path"
            )


def fingerprint(item_ids: DataFrame) -> str:
    """One short text for a whole item id table, whatever its rows' order: what checkpoints are checked against."""
    hashed = F.xxhash64(c.ITEM_SPACE, c.ITEM_ID, c.ITEM_NUM)
    row = item_ids.agg(
        F.bit_xor(hashed).alias("mix"), F.count(F.lit(1)).alias("rows"), F.max(c.ITEM_NUM).alias("largest")
    ).collect()[0]
    return f"{(row['mix'] or 0) % 2**64:016x}-{row['rows']:x}-{row['largest'] or 0:x}"
