"""Events, histories and popularity in, the held-out items of each user and what was known of both out."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core.frames.prepared.numbering import with_position
from crossrec_core.frames.spark.lookups import lookup


def to_truth(
    events: DataFrame,
    histories: DataFrame,
    popularity: DataFrame,
    *,
    targets: Sequence[str],
    new_items_only: Sequence[str],
) -> DataFrame:
    """The distinct items each user took up in the window that a purpose must foresee, in the target domains.

    In the domains ``new_items_only`` an item of the user's known history is no truth: it could not be recommended.
    Leave-one-out passes none, so that the one held-out item stays even when the user had it before, as the papers'
    benchmarks do. Besides the keys (purpose, domain, user_num, item_num):

    segment         the user has known events: in this domain (warm), elsewhere only (cold_in_domain), nowhere (new)
    is_known_item   the item has known events in this domain
    is_head         it belongs to their head
    event_order, tie_break   its first held-out event
    """
    held = _to_held_out(events, targets)
    own = histories.select(c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUMS)
    anywhere = histories.select(c.PURPOSE, c.USER_NUM).distinct().withColumn("_is_known_user", F.lit(True))
    known_items = popularity.where(F.col(c.NUM_EVENTS) > 0).select(c.PURPOSE, c.DOMAIN, c.ITEM_NUM, c.IS_HEAD)
    had_before = F.coalesce(F.array_contains(c.ITEM_NUMS, F.col(c.ITEM_NUM)), F.lit(False))
    must_be_new = F.col(c.DOMAIN).isin(*new_items_only) if new_items_only else F.lit(False)
    segment = F.when(F.col(c.ITEM_NUMS).isNotNull(), c.WARM).when(F.col("_is_known_user"), c.COLD_IN_DOMAIN)
    return (
        held.join(own, on=[c.PURPOSE, c.DOMAIN, c.USER_NUM], how="left")
        .where(~(must_be_new & had_before))
        .join(anywhere, on=[c.PURPOSE, c.USER_NUM], how="left")
        .withColumn(c.SEGMENT, segment.otherwise(c.NEW))
        .drop(c.ITEM_NUMS, "_is_known_user")
        .join(known_items, on=[c.PURPOSE, c.DOMAIN, c.ITEM_NUM], how="left")
        .withColumn(c.IS_KNOWN_ITEM, F.col(c.IS_HEAD).isNotNull())
        .withColumn(c.IS_HEAD, F.coalesce(c.IS_HEAD, F.lit(False)))
    )


def keep_sampled_users(truth: DataFrame, *, max_users: int) -> DataFrame:
    """Keep the rows of the first ``max_users`` users of each purpose and domain in hash order."""
    group = [c.PURPOSE, c.DOMAIN]
    users = truth.select(*group, c.USER_NUM).distinct()
    placed = with_position(users, within=group, by=[c.USER_NUM], position="position")
    return truth.join(placed.where(F.col("position") < max_users), on=[*group, c.USER_NUM], how="left_semi")


def with_outside_ids(rows: DataFrame, user_ids: DataFrame, item_ids: DataFrame) -> DataFrame:
    """Add user_id and item_id; both id tables hold one row per number."""
    return rows.join(user_ids.select(c.USER_NUM, c.USER_ID), on=c.USER_NUM, how="inner").join(
        item_ids.select(c.ITEM_NUM, c.ITEM_ID), on=c.ITEM_NUM, how="inner"
    )


def _to_held_out(events: DataFrame, targets: Sequence[str]) -> DataFrame:
    purpose_of_split = {split: purpose for purpose, split in c.TRUTH_SPLIT.items()}
    first = F.min(F.struct(c.EVENT_ORDER, c.TIE_BREAK)).alias("first")
    return (
        events.where(F.col(c.SPLIT).isin(*purpose_of_split) & F.col(c.DOMAIN).isin(*targets))
        .withColumn(c.PURPOSE, lookup(purpose_of_split, c.SPLIT))
        .groupBy(c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUM)
        .agg(first)
        .select(c.PURPOSE, c.DOMAIN, c.USER_NUM, c.ITEM_NUM, "first.*")
    )
