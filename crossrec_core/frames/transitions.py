"""Interactions in, weights from a history item to the next items out: the Markov floor, item-kNN and the prior.

The steps are ``with_clock``, ``keep_latest``, ``to_pair_sums`` (the costly one), then ``to_transitions`` or
``to_neighbours`` for each set of settings that is tried. Pairs come from exploding a user's ordered events, never from
a self-join.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.exact_sums import from_parts, to_parts
from crossrec_core.frames.sequences import TIME_CLOCK
from crossrec_core.frames.splits import EVENT_KEY

AHEAD, BEHIND, AHEAD_ACROSS, BEHIND_ACROSS = "ahead", "behind", "ahead_across", "behind_across"
SUMS = (AHEAD, BEHIND, AHEAD_ACROSS, BEHIND_ACROSS)
ITEM_COUNT, NEXT_ITEM_COUNT = "item_count", "next_item_count"
_EVENT = (*EVENT_KEY, c.ITEM_NUM)


def with_clock(interactions: DataFrame) -> DataFrame:
    """Name the clock that orders an event: 'time', or its domain where the log holds an order only."""
    return interactions.withColumn(c.CLOCK, F.when(F.col(c.EVENT_TIME).isNull(), F.col(c.DOMAIN)).otherwise(TIME_CLOCK))


def keep_latest(interactions: DataFrame, *, max_history: int) -> DataFrame:
    """Keep the latest ``max_history`` events of each user and clock."""
    latest_first = W.partitionBy(c.USER_NUM, c.CLOCK).orderBy(*(F.col(name).desc() for name in _EVENT))
    return (
        interactions.withColumn("place", F.row_number().over(latest_first))
        .where(F.col("place") <= max_history)
        .drop("place")
    )


def keep_first_touch(interactions: DataFrame) -> DataFrame:
    """One row per user, domain and item, all on one clock: what counts users instead of events."""
    return (
        interactions.groupBy(c.USER_NUM, c.DOMAIN, c.ITEM_NUM)
        .agg(F.min(F.struct(c.EVENT_ORDER, c.TIE_BREAK, c.ACTION_NUM)).alias("first"))
        .select(c.USER_NUM, c.DOMAIN, c.ITEM_NUM, "first.*", F.lit(TIME_CLOCK).alias(c.CLOCK))
    )


def to_pair_sums(
    events: DataFrame, *, window: int, pair_decay: float, across: bool, sources: list[str], targets: list[str]
) -> DataFrame:
    """Sum the pairs of a history item and a candidate within ``window`` steps of a user's sequence.

    A pair at distance k counts ``pair_decay ** (k - 1)``: in ``ahead`` when the candidate came later, in ``behind``
    when it came earlier. Within a domain k counts that domain's events only; pairs across domains (of one clock) count
    the steps of the mixed sequence and go to ``*_across``. An item paired with itself is no pair.

    user  order  item            item  next_item  ahead  behind
    u     1      a               a     b          1      0
    u     2      b       ->      a     d          0.9    0
    u     3      d               b     a          0      1
                                 b     d          1      0      and so on

    Args:
        events: user_num, clock, domain, item_num, event_order, tie_break, action_num.
        across: whether to count pairs across domains at all.
        sources: domains of history items (a candidate's own domain always lends).
        targets: domains of candidates.

    Returns:
        One row per domain (of the candidate), item_num and next_item_num with the four sums and both items' counts.
    """
    in_targets = events.where(F.col(c.DOMAIN).isin(targets))
    pairs = to_pairs(in_targets, by=[c.USER_NUM, c.CLOCK, c.DOMAIN], window=window)
    if across:
        mixed = to_pairs(events, by=[c.USER_NUM, c.CLOCK], window=window, across=True)
        pairs = pairs.unionByName(mixed)
    pairs = pairs.where(F.col(c.ITEM_NUM) != F.col("later_item_num"))
    sums = pairs.groupBy(c.DOMAIN, c.ITEM_NUM, "later_domain", "later_item_num").agg(
        F.sum(to_parts(F.pow(F.lit(pair_decay), F.col("distance") - 1))).alias("parts")
    )
    return _with_counts(_both_directions(sums, sources=sources, targets=targets), events)


def keep_most_counted(pair_sums: DataFrame, *, max_pairs: int) -> DataFrame:
    """Keep the ``max_pairs`` pairs per item and domain of the candidate that were counted most; ties by candidate."""
    total = F.col(AHEAD) + F.col(BEHIND) + F.col(AHEAD_ACROSS) + F.col(BEHIND_ACROSS)
    most_first = W.partitionBy(c.DOMAIN, c.ITEM_NUM).orderBy(total.desc(), c.NEXT_ITEM_NUM)
    placed = pair_sums.withColumn("place", F.row_number().over(most_first))
    return placed.where(F.col("place") <= max_pairs).drop("place")


def to_pairs(events: DataFrame, *, by: list[str], window: int, across: bool = False) -> DataFrame:
    """Each event of a group beside each of the ``window`` events after it; with ``across`` pairs of two domains only.

    Returns:
        domain, item_num, later_domain, later_item_num, distance (1 = next).
    """
    ordered = events.groupBy(*by).agg(F.array_sort(F.collect_list(F.struct(*_EVENT))).alias("ordered"))
    if across:  # most users have one domain: they are dropped before their pairs are made
        ordered = ordered.where(F.size(F.array_distinct(F.col("ordered")[c.DOMAIN])) > 1)
    # Nested explodes, not nested transforms: Spark compiles the former and interprets the latter
    placed = ordered.select("ordered", F.posexplode("ordered").alias("place", "event"))
    after = F.slice("ordered", F.col("place") + 2, F.lit(window))
    pairs = placed.select("event", F.posexplode(after).alias("step", "later")).select(
        *[F.col("event")[name].alias(name) for name in (c.DOMAIN, c.ITEM_NUM)],
        *[F.col("later")[name].alias(f"later_{name}") for name in (c.DOMAIN, c.ITEM_NUM)],
        (F.col("step") + 1).alias("distance"),
    )
    return pairs.where(F.col(c.DOMAIN) != F.col("later_domain")) if across else pairs


def to_transitions(
    pair_sums: DataFrame, *, backward: float, alpha: float, cross_domain: float, max_neighbours: int
) -> DataFrame:
    """Weigh the pairs and keep the strongest ``max_neighbours`` candidates per item and domain of the candidate.

    weight = (ahead + backward * behind + cross_domain * (the same across)) / (n_item^alpha * n_next^(1 - alpha)).

    Returns:
        domain (of the candidate), item_num, next_item_num, weight > 0; ties by candidate number.
    """
    total = _mixed(backward, cross_domain)
    scale = F.pow(_count(ITEM_COUNT), F.lit(alpha)) * F.pow(_count(NEXT_ITEM_COUNT), F.lit(1 - alpha))
    return _keep_strongest(pair_sums.withColumn(c.WEIGHT, total / scale), max_neighbours)


def to_neighbours(pair_sums: DataFrame, *, shrink: float, cross_domain: float, max_neighbours: int) -> DataFrame:
    """Item-kNN: cosine over users, users in common / (sqrt(n_item * n_next) + shrink); rows as ``to_transitions``.

    ``pair_sums`` must come from ``keep_first_touch`` with pair_decay 1, so that sums count users.
    """
    total = _mixed(1.0, cross_domain)
    scale = F.sqrt(_count(ITEM_COUNT) * _count(NEXT_ITEM_COUNT)) + F.lit(shrink)
    return _keep_strongest(pair_sums.withColumn(c.WEIGHT, total / scale), max_neighbours)


def _count(name: str) -> Column:
    return F.col(name).cast("double")


def _mixed(backward: float, cross_domain: float) -> Column:
    """The four sums as one."""
    within = F.col(AHEAD) + F.lit(backward) * F.col(BEHIND)
    across = F.col(AHEAD_ACROSS) + F.lit(backward) * F.col(BEHIND_ACROSS)
    return within + F.lit(cross_domain) * across


def _keep_strongest(weighted: DataFrame, max_neighbours: int) -> DataFrame:
    strongest_first = W.partitionBy(c.DOMAIN, c.ITEM_NUM).orderBy(F.col(c.WEIGHT).desc(), c.NEXT_ITEM_NUM)
    return (
        weighted.where(F.col(c.WEIGHT) > 0)
        .withColumn("place", F.row_number().over(strongest_first))
        .where(F.col("place") <= max_neighbours)
        .select(c.DOMAIN, c.ITEM_NUM, c.NEXT_ITEM_NUM, c.WEIGHT)
    )


def _both_directions(sums: DataFrame, *, sources: list[str], targets: list[str]) -> DataFrame:
    """Directed sums -> one row per candidate's domain, history item and candidate, with the four sums as doubles."""
    is_within = F.col(c.DOMAIN) == F.col("later_domain")
    ahead = _seen_from("", "later_", {AHEAD: is_within, AHEAD_ACROSS: ~is_within})
    behind = _seen_from("later_", "", {BEHIND: is_within, BEHIND_ACROSS: ~is_within})
    lends = (F.col("history_domain") == F.col(c.DOMAIN)) | F.col("history_domain").isin(sources)
    seen = sums.select(F.inline(F.array(ahead, behind))).where(F.col(c.DOMAIN).isin(targets) & lends)
    return seen.groupBy(c.DOMAIN, c.ITEM_NUM, c.NEXT_ITEM_NUM).agg(
        *(from_parts(F.sum(name)).alias(name) for name in SUMS)
    )


def _seen_from(history: str, candidate: str, filled: dict[str, Column]) -> Column:
    """A directed sum as a struct, with the columns that start with ``history`` as the history's side."""
    parts = [F.when(filled.get(name, F.lit(False)), F.col("parts")).otherwise(0).alias(name) for name in SUMS]
    return F.struct(
        F.col(f"{history}domain").alias("history_domain"),
        F.col(f"{candidate}domain").alias(c.DOMAIN),
        F.col(f"{history}item_num").alias(c.ITEM_NUM),
        F.col(f"{candidate}item_num").alias(c.NEXT_ITEM_NUM),
        *parts,
    )


def _with_counts(sums: DataFrame, events: DataFrame) -> DataFrame:
    """Add how many of ``events`` each item of a pair has."""
    counts = events.groupBy(c.ITEM_NUM).agg(F.count("*").alias(ITEM_COUNT))
    next_counts = counts.select(F.col(c.ITEM_NUM).alias(c.NEXT_ITEM_NUM), F.col(ITEM_COUNT).alias(NEXT_ITEM_COUNT))
    return sums.join(counts, on=c.ITEM_NUM, how="inner").join(next_counts, on=c.NEXT_ITEM_NUM, how="inner")
