"""Weights in, sums that no order of rows and no number of partitions can change a bit out.

Weights are summed as whole numbers of 2**-32 parts: whole numbers add in any order. A double would differ in its last
bit from run to run, and equal items would no longer tie.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

ONE = 2.0**32  # parts in a weight of 1: room for sums up to 2**31


def to_parts(weight: Column) -> Column:
    """A weight as whole parts. ``rint``, not ``round``: Spark rounds doubles through decimals, four times slower."""
    return F.rint(weight * F.lit(ONE)).cast("bigint")


def from_parts(parts: Column) -> Column:
    """Whole parts as a weight."""
    return parts / F.lit(ONE)


def exact_sum(weight: Column) -> Column:
    """The sum of a group's weights."""
    return from_parts(F.sum(to_parts(weight)))
