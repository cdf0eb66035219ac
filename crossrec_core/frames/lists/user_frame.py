"""Sequences and histories in, a row per user (and clock) with all that scoring needs out: no cross join, no window."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.tables import SEQUENCE_LISTS

LISTS = tuple(column.name for column in SEQUENCE_LISTS if column.name != c.SESSION_STARTS)  # no scorer reads sessions
_CLOCKS = "_clocks"
_CHOSEN = "_chosen"
_VIEW = "_view"
_PAIRS = "_pairs"


@dataclass(frozen=True)
class Target:
    """A domain that gets lists: its number, the clock of its events and whose ids its users have."""

    name: str
    num: int
    clock: str
    user_space: str
    exclude_seen: bool
    is_rated: bool = False  # whether values say what is liked


def user_frame(
    wanted: DataFrame, sequences: DataFrame, histories: DataFrame, user_ids: DataFrame, *,
    targets: Sequence[Target], max_len: int, num_partitions: int, one_clock: bool = False,
    user_likes: DataFrame | None = None,
) -> DataFrame:  # fmt: skip
    """One row per wanted user and clock of a wanted target: the sequence, items to mask, domains to make lists for.

    ``wanted`` holds (user_num, domain), repeats allowed; ``sequences`` and ``histories`` are those of one purpose;
    ``user_ids`` has one row per user_num. A sequence is the user's own on that clock; without one, the events of the
    other clocks, clock after clock by name, cut to the latest ``max_len``; else zeros. ``seen_D`` is empty where a
    domain may repeat; ``segment_code_D`` is that of warm or cold_in_domain, by whether the user has a history there.
    All joins go by user_num in ``num_partitions`` partitions. ``one_clock``: no user has more than one sequence.
    ``user_likes``, of the same purpose, adds num_likes_D and num_rated_D of rated targets, 0 without a row.

    user  domain        user_id  item_nums  seen_1  wanted_1  seen_2  wanted_2
    7     films    ->   ann      [5, 9, 0]  [5]     true      [9]     false       (films = 1, books = 2)
    """
    # All three are grouped where they are joined: one shuffle each, and as many tasks as asked for to score in. Small
    # ones would be broadcast without the hint, and all users be left to one task.
    asked, clocks, seen = (
        rows.repartition(num_partitions, c.USER_NUM)
        for rows in (wanted, _without_padding(sequences), _of_targets(histories, targets))
    )
    users = (
        _to_wanted_flags(asked, targets)
        .join(_to_clocks(clocks, one_clock=one_clock).hint("merge"), on=c.USER_NUM, how="left")
        .join(_to_seen(seen, targets).hint("merge"), on=c.USER_NUM, how="left")
        .join(user_ids.select(c.USER_NUM, c.USER_ID), on=c.USER_NUM, how="inner")
    )
    rated = [target for target in targets if target.is_rated]
    if rated:
        assert user_likes is not None, "a rated target without likes"
        likes = user_likes.repartition(num_partitions, c.USER_NUM)
        users = users.join(_to_like_counts(likes, rated).hint("merge"), on=c.USER_NUM, how="left")
    views = sorted({target.clock for target in targets})
    asked_views = F.array_compact(F.array(*[F.when(_any_wanted(view, targets), F.lit(view)) for view in views]))
    views_of = users.withColumn(_VIEW, F.explode(asked_views)).withColumn(_CHOSEN, _chosen_clocks())
    return views_of.select(
        c.USER_NUM,
        c.USER_ID,
        *[_sequence(name, max_len).alias(name) for name in LISTS],
        *[column for target in targets for column in _domain_columns(target)],
        *[F.coalesce(name, F.lit(0).cast("bigint")).alias(name) for target in targets for name in _like_names(target)],
    )


def with_pairs(users: DataFrame, pairs: DataFrame, *, targets: Sequence[Target]) -> DataFrame:
    """Add pair_item_nums_D and pair_labels_D: the labelled pairs of the user, where ``wanted_D``; else empty.

    ``pairs`` holds distinct (user_num, domain, item_num) with a label.
    """
    listed = [
        F.array_sort(F.collect_list(F.when(F.col(c.DOMAIN) == target.name, F.struct(c.ITEM_NUM, c.LABEL)))).alias(
            c.of_domain(_PAIRS, target.num)
        )
        for target in targets
    ]
    by_user = pairs.groupBy(c.USER_NUM).agg(*listed)
    joined = users.join(by_user, on=c.USER_NUM, how="left")
    for target in targets:
        own = F.when(F.col(_flag(target)), F.col(c.of_domain(_PAIRS, target.num)))
        joined = (
            joined.withColumn(c.of_domain(c.PAIR_ITEM_NUMS, target.num), own[c.ITEM_NUM])
            .withColumn(c.of_domain(c.PAIR_LABELS, target.num), own[c.LABEL].cast("array<bigint>"))
            .drop(c.of_domain(_PAIRS, target.num))
        )
    return joined


def wanted_by_truth(truth: DataFrame) -> DataFrame:
    """The (user_num, domain) with held-out items, but for users nobody had seen: those get the fallback list."""
    return truth.where(F.col(c.SEGMENT) != c.NEW).select(c.USER_NUM, c.DOMAIN)


def wanted_by_everyone(
    sequences: DataFrame, histories: DataFrame, user_ids: DataFrame, *, targets: Sequence[Target]
) -> DataFrame:
    """Every known user with every target domain of the user's own space: (user_num, domain)."""
    known = sequences.select(c.USER_NUM).unionByName(histories.select(c.USER_NUM)).distinct()
    in_space = F.array_compact(
        F.array(*[F.when(F.col(c.USER_SPACE) == target.user_space, F.lit(target.name)) for target in targets])
    )
    spaces = user_ids.select(c.USER_NUM, c.USER_SPACE)
    return known.join(spaces, on=c.USER_NUM, how="inner").select(c.USER_NUM, F.explode(in_space).alias(c.DOMAIN))


def fallback_user(spark: SparkSession, *, targets: Sequence[Target], max_len: int) -> DataFrame:
    """The user nobody has seen: no events, and a list wanted in every target domain."""
    nothing = F.array_repeat(F.lit(0).cast("bigint"), max_len)
    return spark.range(0, 1, 1, 1).select(
        F.lit(0).cast("bigint").alias(c.USER_NUM),
        F.lit(c.NEW_USER_ID).alias(c.USER_ID),
        *[nothing.alias(name) for name in LISTS],
        *[
            column
            for target in targets
            for column in (
                _empty().alias(_seen(target)),
                F.lit(True).alias(_flag(target)),
                _code(c.NEW).alias(_segment(target)),
                *[F.lit(0).cast("bigint").alias(name) for name in _like_names(target)],
            )
        ],
    )


def _to_wanted_flags(wanted: DataFrame, targets: Sequence[Target]) -> DataFrame:
    flags = [F.bool_or(F.col(c.DOMAIN) == target.name).alias(_flag(target)) for target in targets]
    return wanted.groupBy(c.USER_NUM).agg(*flags)


def _of_targets(histories: DataFrame, targets: Sequence[Target]) -> DataFrame:
    """The histories that mask something: user_num, domain, item_nums."""
    names = [target.name for target in targets]
    return histories.where(F.col(c.DOMAIN).isin(names)).select(c.USER_NUM, c.DOMAIN, c.ITEM_NUMS)


def _to_seen(histories: DataFrame, targets: Sequence[Target]) -> DataFrame:
    """One row per user, a list per target; a user has at most one history in a domain."""
    if len(targets) == 1:  # grouping would sort lists that are alone already
        return histories.select(c.USER_NUM, F.col(c.ITEM_NUMS).alias(_seen(targets[0])))
    lists = [
        F.first(F.when(F.col(c.DOMAIN) == target.name, F.col(c.ITEM_NUMS)), ignorenulls=True).alias(_seen(target))
        for target in targets
    ]
    return histories.groupBy(c.USER_NUM).agg(*lists)


def _to_like_counts(user_likes: DataFrame, rated: Sequence[Target]) -> DataFrame:
    """One row per user, two counts per rated target; a user has at most one row in a domain."""
    counts = [
        F.max(F.when(F.col(c.DOMAIN) == target.name, F.col(name))).alias(c.of_domain(name, target.num))
        for target in rated
        for name in c.LIKE_COUNTS
    ]
    return user_likes.groupBy(c.USER_NUM).agg(*counts)


def _without_padding(sequences: DataFrame) -> DataFrame:
    """user_num, clock and the lists as long as they are: most of a row is padding, which no shuffle need carry."""
    unpadded = [F.slice(name, F.lit(1), F.col(c.LENGTH).cast("int")).alias(name) for name in LISTS]
    return sequences.select(c.USER_NUM, c.CLOCK, *unpadded)


def _to_clocks(sequences: DataFrame, *, one_clock: bool) -> DataFrame:
    """One row per user: the sequences as an array of structs in the order of their clocks."""
    sequence = F.struct(c.CLOCK, *LISTS)
    if one_clock:  # grouping would sort rows that are alone already, the widest of all
        return sequences.select(c.USER_NUM, F.array(sequence).alias(_CLOCKS))
    return sequences.groupBy(c.USER_NUM).agg(F.array_sort(F.collect_list(sequence)).alias(_CLOCKS))


def _chosen_clocks() -> Column:
    """The sequences that a row's view reads: those of its own clock, else of all the others."""
    own = F.filter(_CLOCKS, lambda sequence: sequence[c.CLOCK] == F.col(_VIEW))
    return F.when(F.size(own) > 0, own).otherwise(F.col(_CLOCKS))


def _sequence(name: str, max_len: int) -> Column:
    """A list column of the chosen sequences, one after the other: the latest ``max_len``, padded."""
    padding = F.array_repeat(F.lit(0).cast("bigint"), max_len)
    events = F.coalesce(F.flatten(F.col(_CHOSEN)[name]), _empty())
    start = F.greatest(F.size(events) - max_len, F.lit(0)) + 1
    return F.slice(F.concat(events, padding), start, F.lit(max_len))


def _domain_columns(target: Target) -> list[Column]:
    """``seen_D``, ``wanted_D`` and ``segment_code_D`` in the view of one row."""
    segment = F.when(F.col(_seen(target)).isNotNull(), _code(c.WARM)).otherwise(_code(c.COLD_IN_DOMAIN))
    seen = F.coalesce(F.col(_seen(target)), _empty()) if target.exclude_seen else _empty()
    is_wanted = F.col(_flag(target)) & (F.col(_VIEW) == target.clock)
    return [seen.alias(_seen(target)), is_wanted.alias(_flag(target)), segment.alias(_segment(target))]


def _any_wanted(view: str, targets: Sequence[Target]) -> Column:
    flags = [F.col(_flag(target)) for target in targets if target.clock == view]
    return F.greatest(*flags) if len(flags) > 1 else flags[0]


def _seen(target: Target) -> str:
    return c.of_domain(c.SEEN, target.num)


def _flag(target: Target) -> str:
    return c.of_domain(c.WANTED, target.num)


def _segment(target: Target) -> str:
    return c.of_domain(c.SEGMENT_CODE, target.num)


def _code(segment: str) -> Column:
    return F.lit(c.USER_SEGMENTS.index(segment)).cast("tinyint")


def _like_names(target: Target) -> list[str]:
    return [c.of_domain(name, target.num) for name in c.LIKE_COUNTS] if target.is_rated else []


def _empty() -> Column:
    return F.array().cast("array<bigint>")
