"""Truth and candidates in, labelled pairs for the click metrics out.

Held-out items against sampled unseen ones; or, where an event says by its value whether it was liked, held-out items
against held-out items.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.numbering import with_position
from crossrec_core.frames.spark.lookups import lookup

_GROUP = (c.PURPOSE, c.DOMAIN)
_UNIFORM, _POPULAR = "uniform", "popular"
_DRAW, _COPY, _POSITION, _SIZE = "draw", "copy", "position", "size"


def to_labelled_pairs(
    truth: DataFrame, histories: DataFrame, popularity: DataFrame, *, negatives_per_positive: int, seed: int
) -> DataFrame:
    """Per purpose, domain, user_num and item_num: label 1 for held-out items, 0 for sampled unseen ones.

    Positives: truth items that were known (only those can be scored), of users who were known somewhere. For each,
    ``negatives_per_positive`` draws from the domain's candidates: the first, third... uniformly, the second, fourth...
    in proportion to known events. The hash of user, item, draw and seed picks the place, so the same tables give the
    same pairs whatever their order. Draws that hit an item of the user's known history in the domain or any held-out
    item of the user are dropped, and repeated draws count once: a user may get fewer negatives than asked for.
    """
    positives = truth.where(_can_be_scored()).select(*_GROUP, c.USER_NUM, c.ITEM_NUM)
    draws = _to_draws(positives, negatives_per_positive=negatives_per_positive, seed=seed)
    negatives = _keep_unseen(_to_items(draws, popularity), histories, truth)
    return positives.withColumn(c.LABEL, F.lit(1)).unionByName(negatives.withColumn(c.LABEL, F.lit(0)))


def to_rated_pairs(truth: DataFrame, interactions: DataFrame, *, positive_values: Mapping[str, float]) -> DataFrame:
    """The truth of the domains in ``positive_values`` with label 1 where its value is at least the domain's, else 0.

    truth                     interactions                       ``positive_values`` = {"films": 4}
    user  item  event_order   user  item  event_order  value     user  item  label
    u     a     7             u     a     7            5    ->   u     a     1
    u     b     8             u     b     8            3         u     b     0

    ``truth`` has outside ids beside its numbers, ``interactions`` holds values as they were logged. An item's first
    held-out event decides, the highest value where one moment has several; without a value there is no pair. Users
    and items are those of ``to_labelled_pairs``.
    """
    names = (c.DOMAIN, c.USER_ID, c.ITEM_ID, c.EVENT_ORDER)
    is_asked = F.col(c.DOMAIN).isin(*positive_values)
    valued = interactions.where(is_asked).groupBy(*names).agg(F.max(c.VALUE).alias(c.VALUE))
    label = (F.col(c.VALUE) >= lookup(positive_values, c.DOMAIN)).cast("int")
    return (
        truth.where(is_asked & _can_be_scored())
        .join(valued, on=list(names), how="inner")
        .where(F.col(c.VALUE).isNotNull())
        .select(*_GROUP, c.USER_NUM, c.ITEM_NUM, label.alias(c.LABEL))
    )


def _can_be_scored() -> Column:
    return F.col(c.IS_KNOWN_ITEM) & (F.col(c.SEGMENT) != c.NEW)


def _to_draws(positives: DataFrame, *, negatives_per_positive: int, seed: int) -> DataFrame:
    """One row per positive and draw: purpose, domain, user_num, the kind of draw and a hash that picks the place."""
    number = F.explode(F.sequence(F.lit(0), F.lit(negatives_per_positive - 1)))
    return positives.withColumn("number", number).select(
        *_GROUP,
        c.USER_NUM,
        F.when(F.col("number") % 2 == 0, _UNIFORM).otherwise(_POPULAR).alias(_DRAW),
        F.xxhash64(c.USER_NUM, c.ITEM_NUM, F.lit(seed), "number").alias("hash"),
    )


def _to_items(draws: DataFrame, popularity: DataFrame) -> DataFrame:
    """The item that each draw hits: purpose, domain, user_num, item_num, repeats dropped."""
    unplaced = _to_pool(popularity)
    sizes = unplaced.groupBy(*_GROUP, _DRAW).agg(F.count(F.lit(1)).alias(_SIZE))
    pool = with_position(unplaced, within=[*_GROUP, _DRAW], by=[c.ITEM_NUM, _COPY], position=_POSITION)
    return (
        draws.join(F.broadcast(sizes), on=[*_GROUP, _DRAW], how="inner")
        .withColumn(_POSITION, F.pmod(F.col("hash"), F.col(_SIZE)))
        .join(pool, on=[*_GROUP, _DRAW, _POSITION], how="inner")
        .select(*_GROUP, c.USER_NUM, c.ITEM_NUM)
        .distinct()
    )


def _to_pool(popularity: DataFrame) -> DataFrame:
    """What draws pick from: every candidate once for uniform draws, once per known event for popular ones."""
    zero = F.lit(0).cast("bigint")
    once = popularity.select(*_GROUP, c.ITEM_NUM, F.lit(_UNIFORM).alias(_DRAW), zero.alias(_COPY))
    copies = F.explode(F.sequence(F.lit(1).cast("bigint"), F.col(c.NUM_EVENTS))).alias(_COPY)
    touched = popularity.where(F.col(c.NUM_EVENTS) > 0)
    return once.unionByName(touched.select(*_GROUP, c.ITEM_NUM, F.lit(_POPULAR).alias(_DRAW), copies))


def _keep_unseen(pairs: DataFrame, histories: DataFrame, truth: DataFrame) -> DataFrame:
    seen = histories.select(*_GROUP, c.USER_NUM, c.ITEM_NUMS)
    held_out = truth.select(*_GROUP, c.USER_NUM, c.ITEM_NUM)
    is_seen = F.coalesce(F.array_contains(c.ITEM_NUMS, F.col(c.ITEM_NUM)), F.lit(False))
    return (
        pairs.join(seen, on=[*_GROUP, c.USER_NUM], how="left")
        .where(~is_seen)
        .drop(c.ITEM_NUMS)
        .join(held_out, on=[*_GROUP, c.USER_NUM, c.ITEM_NUM], how="left_anti")
    )
