"""Interactions in, weights from a history item to the next items out: the Markov floor, item-kNN and the prior.

The steps are ``with_clock``, ``keep_latest``, ``to_pair_sums`` (the costly one), then ``to_transitions`` or
``to_neighbours`` for each set of settings that is tried. Pairs come from exploding a user's ordered events, never from
a self-join.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.sequences import TIME_CLOCK
from crossrec_core.frames.prepared.splits import EVENT_KEY
from crossrec_core.frames.spark.exact_sums import from_parts, to_parts
from crossrec_core.frames.spark.lookups import lookup

AHEAD, BEHIND, AHEAD_ACROSS, BEHIND_ACROSS = "ahead", "behind", "ahead_across", "behind_across"
SUMS = (AHEAD, BEHIND, AHEAD_ACROSS, BEHIND_ACROSS)
ITEM_COUNT, NEXT_ITEM_COUNT = "item_count", "next_item_count"
EARLIER, LATER = "earlier", "later"
_EVENT = (*EVENT_KEY, c.ITEM_NUM)
_CODE = "code"
_ITEM_BITS = 48  # of a code; the domain's place stands above


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
    events: DataFrame, *, window: int, pair_decay: float, across: bool, sources: list[str], targets: list[str],
    shared_items: bool = True,
) -> DataFrame:  # fmt: skip
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
        shared_items: whether an item may be of several domains; where none is, a shuffle of all pairs is spared.

    Returns:
        One row per domain (of the candidate), item_num and next_item_num with the four sums and both items' counts.
    """
    names = sorted({*sources, *targets})
    place = lookup({name: place for place, name in enumerate(names)}, c.DOMAIN)
    coded = events.withColumn(_CODE, _to_code(F.coalesce(place, F.lit(len(names))), F.col(c.ITEM_NUM)))
    in_targets = coded.where(F.col(c.DOMAIN).isin(targets))
    pairs = to_pairs(in_targets, _CODE, by=[c.USER_NUM, c.CLOCK, c.DOMAIN], window=window)
    if across:
        mixed = to_pairs(coded, _CODE, by=[c.USER_NUM, c.CLOCK], window=window, across=True)
        pairs = pairs.unionByName(mixed.where(_place_of(EARLIER) != _place_of(LATER)))
    sums = _sum_unordered(pairs.where(_item_of(EARLIER) != _item_of(LATER)), pair_decay=pair_decay)
    directed = _both_directions(sums, names=names, sources=sources, targets=targets)
    if shared_items:
        directed = directed.groupBy(c.DOMAIN, c.ITEM_NUM, c.NEXT_ITEM_NUM).agg(
            *[F.sum(name).alias(name) for name in SUMS]
        )
    summed = directed.select(
        c.DOMAIN, c.ITEM_NUM, c.NEXT_ITEM_NUM, *[from_parts(F.col(name)).alias(name) for name in SUMS]
    )
    return _with_counts(summed, events)


def keep_most_counted(pair_sums: DataFrame, *, max_pairs: int) -> DataFrame:
    """Keep the ``max_pairs`` pairs per item and domain of the candidate that were counted most; ties by candidate."""
    total = F.col(AHEAD) + F.col(BEHIND) + F.col(AHEAD_ACROSS) + F.col(BEHIND_ACROSS)
    most_first = W.partitionBy(c.DOMAIN, c.ITEM_NUM).orderBy(total.desc(), c.NEXT_ITEM_NUM)
    placed = pair_sums.withColumn("place", F.row_number().over(most_first))
    return placed.where(F.col("place") <= max_pairs).drop("place")


def to_pairs(events: DataFrame, value: str, *, by: list[str], window: int, across: bool = False) -> DataFrame:
    """The column ``value`` of each event of a group beside that of each of the ``window`` events after it.

    With ``across`` only groups of several domains are looked at.

    Returns:
        earlier, later, distance (1 = next).
    """
    event = F.struct(*_EVENT, F.col(value).alias("value"))
    ordered = events.groupBy(*by).agg(F.array_sort(F.collect_list(event)).alias("ordered"))
    if across:  # most users have one domain: they are dropped before their pairs are made
        ordered = ordered.where(F.size(F.array_distinct(F.col("ordered")[c.DOMAIN])) > 1)
    # Nested explodes, not nested transforms: Spark compiles the former and interprets the latter. Of the numbers alone:
    # each of a user's rows carries the list
    values = ordered.select(F.col("ordered")["value"].alias("values"))
    placed = values.select("values", F.posexplode("values").alias("place", EARLIER))
    after = F.slice("values", F.col("place") + 2, F.lit(window))
    return placed.select(EARLIER, F.posexplode(after).alias("step", LATER)).select(
        EARLIER, LATER, (F.col("step") + 1).alias("distance")
    )


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


def _to_code(place: Column, item_num: Column) -> Column:
    """A domain's place and an item as one number: pairs are grouped by two of them, not by four columns with names."""
    return F.shiftleft(place.cast("bigint"), _ITEM_BITS).bitwiseOR(item_num)


def _place_of(code: str) -> Column:
    return F.shiftright(code, _ITEM_BITS)


def _item_of(code: str) -> Column:
    return F.col(code).bitwiseAND(F.lit(2**_ITEM_BITS - 1))


def _sum_unordered(pairs: DataFrame, *, pair_decay: float) -> DataFrame:
    """Pairs -> low, high (codes) and how often the low one came first (onward) or last (back), in whole parts."""
    low_first = F.col(EARLIER) < F.col(LATER)
    parts = to_parts(F.pow(F.lit(pair_decay), F.col("distance") - 1))
    return pairs.groupBy(F.least(EARLIER, LATER).alias("low"), F.greatest(EARLIER, LATER).alias("high")).agg(
        F.sum(F.when(low_first, parts).otherwise(0)).alias("onward"),
        F.sum(F.when(low_first, 0).otherwise(parts)).alias("back"),
    )


def _both_directions(sums: DataFrame, *, names: list[str], sources: list[str], targets: list[str]) -> DataFrame:
    """Unordered sums -> candidate's domain, history item, candidate, and the four sums in whole parts.

    ``names`` are the domains by their place in the codes.
    """
    seen = sums.select(F.inline(F.array(_seen_from("low", "onward", "back"), _seen_from("high", "back", "onward"))))
    place, candidate_place = _place_of("history").cast("int"), _place_of("candidate").cast("int")
    is_within = place == candidate_place
    lends = is_within | place.isin([names.index(name) for name in sources])
    is_candidate = candidate_place.isin([names.index(name) for name in targets])
    return seen.where(lends & is_candidate).select(
        F.element_at(F.array(*map(F.lit, names)), candidate_place + 1).alias(c.DOMAIN),
        _item_of("history").alias(c.ITEM_NUM), _item_of("candidate").alias(c.NEXT_ITEM_NUM),
        *[F.when(is_within, F.col(name)).otherwise(0).alias(name) for name in (AHEAD, BEHIND)],
        *[F.when(is_within, 0).otherwise(F.col(name)).alias(f"{name}_across") for name in (AHEAD, BEHIND)],
    )  # fmt: skip


def _seen_from(history: str, ahead: str, behind: str) -> Column:
    """An unordered sum as one of its two items has it for its history."""
    candidate = "high" if history == "low" else "low"
    named = {"history": history, "candidate": candidate, AHEAD: ahead, BEHIND: behind}
    return F.struct(*[F.col(column).alias(name) for name, column in named.items()])


def _with_counts(sums: DataFrame, events: DataFrame) -> DataFrame:
    """Add how many of ``events`` each item of a pair has."""
    counts = events.groupBy(c.ITEM_NUM).agg(F.count("*").alias(ITEM_COUNT))
    next_counts = counts.select(F.col(c.ITEM_NUM).alias(c.NEXT_ITEM_NUM), F.col(ITEM_COUNT).alias(NEXT_ITEM_COUNT))
    return sums.join(counts, on=c.ITEM_NUM, how="inner").join(next_counts, on=c.NEXT_ITEM_NUM, how="inner")
