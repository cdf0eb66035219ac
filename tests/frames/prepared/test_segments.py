"""Every segment is a union of base rows, and is named once."""

from crossrec_core import columns as c
from crossrec_core.frames.prepared.segments import ITEM_KINDS, SEGMENTS


def test_names_are_unique() -> None:
    names = [segment.name for segment in SEGMENTS]
    assert len(set(names)) == len(names)


def test_every_segment_is_made_of_base_rows() -> None:
    for segment in SEGMENTS:
        assert set(segment.users) <= set(c.USER_SEGMENTS)
        assert segment.items in ITEM_KINDS


def test_every_user_segment_and_item_kind_is_reported() -> None:
    assert {segment.name for segment in SEGMENTS} >= {*c.USER_SEGMENTS, *ITEM_KINDS}


def test_all_is_everyone_and_everything() -> None:
    (whole,) = [segment for segment in SEGMENTS if segment.name == c.ALL]
    assert (set(whole.users), whole.items) == (set(c.USER_SEGMENTS), c.ALL)
