"""Who runs when in a benchmark, and what --fewer says."""

import pytest

from benchmarks.timing import read_counts, turns
from crossrec_core.errors import ConfigError

NAMES = ("als", "crossrec, all tables")


def test_fewer_runs_are_asked_for_by_name():
    found = read_counts(["als=3", "crossrec, all tables=1"], names=NAMES, repetitions=5)
    assert found == {"als": 3, "crossrec, all tables": 1}
    assert read_counts([], names=NAMES, repetitions=5) == {}


@pytest.mark.parametrize("text", ["als", "als=", "als=0", "als=5", "als=-1", "spotify=3", "=3"])
def test_what_is_no_smaller_count_of_someone_is_one_line(text):
    with pytest.raises(ConfigError, match=rf"^--fewer {text}: expected NAME=COUNT, [^\n]*from 1 to 4"):
        read_counts([text], names=NAMES, repetitions=5)


def test_all_run_once_and_again_and_who_has_fewer_runs_is_done_first():
    found = turns("ab", repetitions=3, untimed=1, fewer={"b": 1})
    assert found == [("a", -1), ("b", -1), ("a", 0), ("b", 0), ("a", 1), ("a", 2)]
