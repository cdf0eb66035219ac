"""doctor: what the machine has."""

from pathlib import Path

import pytest

from crossrec_core.cli.doctor import MISSING, NOTE, OK, check_java, check_readable, examine, java_version
from crossrec_core.lake import Lake
from crossrec_core.ledger import publish
from tests.small_lake import small_settings, write_run


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.10" 2024-01-16', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("no version here", 0),
    ],
)
def test_java_version_is_the_major_one(text: str, version: int) -> None:
    assert java_version(text) == version


def test_a_java_home_without_java_is_missing_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    check = check_java()
    assert check.state == MISSING
    assert "install Java 17 or 21" in check.advice


def test_a_lake_is_missing_then_unpublished_then_ok(lake: Lake, tmp_path: Path) -> None:
    assert check_readable(lake).state == MISSING
    write_run(lake, small_settings(tmp_path), "r1")
    assert check_readable(lake).state == NOTE
    publish(lake, "r1")
    check = check_readable(lake)
    assert check.state == OK
    assert "run r1 published" in check.seen


def test_every_thing_is_looked_at_once(lake: Lake) -> None:
    names = [check.name for check in examine(lake)]
    assert len(set(names)) == len(names)
    assert {"Python", "Java", "memory", "disk", "GPU", "pyspark", "torch", "lake"} <= set(names)
