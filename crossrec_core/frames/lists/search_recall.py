"""Users and how much of their exact lists a search found in, a recall per model and domain out."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from crossrec_core import columns as c

# What is compared: a user's exact list, and how many of its items the search found
COMPARED = (
    f"{c.USER_ID} string, {c.MODEL_INDEX} int, {c.DOMAIN_NUM} int, {c.NUM_LISTED} int, {c.NUM_FOUND} int"
)  # fmt: skip


def sample_users(users: DataFrame, *, size: int, seed: int) -> DataFrame:
    """At most ``size`` rows of the user frame, by a hash of the user and the seed: the same ones every time."""
    return users.orderBy(F.xxhash64(c.USER_ID, F.lit(seed)), c.USER_ID).limit(size)


def search_recall(compared: DataFrame) -> DataFrame:
    """The mean and the lowest share of the exact list that was found, over the users of a model and domain.

    user  model_index  domain_num  num_listed  num_found        model_index  domain_num  recall  worst_recall  num_users
    u     0            1           50          50          ->   0            1           .99     .98           2
    v     0            1           50          49
    """
    share = F.col(c.NUM_FOUND) / F.col(c.NUM_LISTED)
    return compared.groupBy(c.MODEL_INDEX, c.DOMAIN_NUM).agg(
        F.avg(share).alias("recall"), F.min(share).alias("worst_recall"), F.count(F.lit(1)).alias(c.NUM_USERS)
    )
