"""Anyone's lists in, nothing out: refused unless everyone has ``n`` different items that they do not know."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.scoring_suite.contenders import ITEM, USER
from crossrec_core.errors import CrossRecError


def check_lists(title: str, lists: DataFrame, known: DataFrame, *, users: int, n: int) -> None:
    """Look at every list; ``lists`` and ``known`` are rows of USER and ITEM.

    Raises:
        CrossRecError: someone has no list, not ``n`` different items, or an item that they know.
    """
    sizes = lists.groupBy(USER).agg(F.count("*").alias("rows"), F.countDistinct(ITEM).alias("items"))
    is_whole = (F.col("rows") == n) & (F.col("items") == n)
    counts = sizes.agg(F.count("*").alias("lists"), F.count_if(is_whole).alias("whole")).first()
    assert counts is not None
    if (counts["lists"], counts["whole"]) != (users, users):
        raise CrossRecError(f"{title}: {counts['lists']} lists, {counts['whole']} of them whole; expected {users}")
    repeated = lists.join(known, on=[USER, ITEM], how="left_semi").count()
    if repeated:
        raise CrossRecError(f"{title}: {repeated} rows are items that their user knows; expected none")
