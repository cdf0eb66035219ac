from datetime import UTC, datetime

import pytest

from crossrec_core.errors import ConfigError
from jobs.judged_logs import parse_moment


@pytest.mark.parametrize(
    ("text", "end_of_day", "expected"),
    [
        ("2026-01-31", False, datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31", True, datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", True, datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_bare_date_covers_its_whole_day(text, end_of_day, expected):
    assert parse_moment(text, where="clean.newest_event", end_of_day=end_of_day) == expected


def test_moment_that_is_none_is_an_error():
    with pytest.raises(ConfigError, match=r"clean\.newest_event: seen 'soon'"):
        parse_moment("soon", where="clean.newest_event", end_of_day=True)
