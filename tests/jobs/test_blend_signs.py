"""Where the blend's weights may be negative."""

import pytest

from crossrec_core.config import read_config
from jobs.blend import keeps_positive


@pytest.mark.parametrize(
    ("signs", "protocol", "expected"),
    [
        ("auto", "time", True),
        ("auto", "leave_one_out", False),
        ("free", "time", False),
        ("positive", "leave_one_out", True),
    ],
)
def test_weights_are_positive_where_time_passes_between_teaching_and_listing(tmp_path, signs, protocol, expected):
    file = tmp_path / "own.toml"
    file.write_text('[domains.films]\npath = "films.csv"\n')
    settings = read_config(file, overrides={"blend": {"signs": signs}, "split": {"protocol": protocol}})
    assert keeps_positive(settings) == expected
