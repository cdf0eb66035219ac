"""Users and held-out items in, the segments they count for out. The only list of segments.

A user's truth in a domain is looked at five times: whole, and restricted to one kind of item. Those are the base
segments that ``user_metrics`` stores; every reported segment is a union of base rows.
"""

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

from crossrec_core import columns as c

ITEMS = "items"
ITEM_KINDS = (c.ALL, c.KNOWN_ITEMS, c.HEAD_ITEMS, c.TAIL_ITEMS, c.COLD_ITEMS)


@dataclass(frozen=True)
class Segment:
    """A reported segment: whose users, and which items of their truth."""

    name: str
    users: tuple[str, ...]
    items: str


SEGMENTS = (
    Segment(c.ALL, c.USER_SEGMENTS, c.ALL),
    Segment(c.WARM, (c.WARM,), c.ALL),
    Segment(c.COLD_IN_DOMAIN, (c.COLD_IN_DOMAIN,), c.ALL),
    Segment(c.NEW, (c.NEW,), c.ALL),
    Segment(c.HEAD_ITEMS, c.USER_SEGMENTS, c.HEAD_ITEMS),
    Segment(c.TAIL_ITEMS, c.USER_SEGMENTS, c.TAIL_ITEMS),
    Segment(c.KNOWN_ITEMS, c.USER_SEGMENTS, c.KNOWN_ITEMS),
    Segment(c.COLD_ITEMS, c.USER_SEGMENTS, c.COLD_ITEMS),
    Segment("known_items_warm", (c.WARM,), c.KNOWN_ITEMS),
    Segment("known_items_cold_in_domain", (c.COLD_IN_DOMAIN,), c.KNOWN_ITEMS),
)


def is_of_kind(kind: str, *, is_known: Column, is_head: Column) -> Column:
    """Whether a held-out item is of an item kind. Head and tail divide the known items, known and cold divide all."""
    return {
        c.ALL: F.lit(True),
        c.KNOWN_ITEMS: is_known,
        c.HEAD_ITEMS: is_known & is_head,
        c.TAIL_ITEMS: is_known & ~is_head,
        c.COLD_ITEMS: ~is_known,
    }[kind]


def stored_segment(user_segment: Column, items: Column) -> Column:
    """The segment of a row in user_metrics: the user's own over all truth, else the item kind."""
    return F.when(items == c.ALL, user_segment).otherwise(items)


def segments_of(user_segment: Column, items: Column) -> Column:
    """Every segment a base row counts for, as array<string>."""
    named = [
        F.when((items == segment.items) & user_segment.isin(*segment.users), F.lit(segment.name))
        for segment in SEGMENTS
    ]
    return F.filter(F.array(*named), lambda name: name.isNotNull())
