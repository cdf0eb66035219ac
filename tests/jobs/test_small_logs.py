"""Which JVM a session gets: one that compiles little where all logs are small."""

from pathlib import Path

import pytest

from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.frames.spark.session import FOR_SMALL_LOGS
from jobs.steps import PACKED, SMALL_LOGS, spark_options


def options_for(path: str, *, others: dict[str, str] | None = None) -> dict[str, str]:
    domain = {"path": path, "user_id": "user", "item_id": "item", "event_time": "time"}
    tree = {"domains": {"Shop": domain}, "roles": {"targets": ["Shop"]}, "spark": {"options": others or {}}}
    return spark_options(read_config(DEFAULTS, overrides=tree))


def log_of(path: Path, num_bytes: int) -> str:
    """A file of so many bytes that takes no room."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(num_bytes)
    return str(path)


@pytest.mark.parametrize(("name", "limit"), [("log.tsv", SMALL_LOGS), ("log.tsv.gz", SMALL_LOGS // PACKED)])
def test_small_logs_are_compiled_once(tmp_path: Path, name: str, limit: int) -> None:
    assert options_for(log_of(tmp_path / name, limit)) == FOR_SMALL_LOGS
    assert options_for(log_of(tmp_path / name, limit + 1)) == {}


def test_a_folder_of_files_counts_whole(tmp_path: Path) -> None:
    for part in ("a.parquet", "b.parquet"):
        log_of(tmp_path / "log" / part, SMALL_LOGS // PACKED // 2)
    assert options_for(str(tmp_path / "log")) == FOR_SMALL_LOGS
    log_of(tmp_path / "log" / "c.parquet", 1)
    assert options_for(str(tmp_path / "log")) == {}


def test_logs_elsewhere_are_taken_for_large() -> None:
    assert options_for("s3://bucket/log.parquet") == {}


def test_the_users_options_come_beside_and_win(tmp_path: Path) -> None:
    log, own = log_of(tmp_path / "log.csv", 1), {"spark.driver.extraJavaOptions": "-Xss4m"}
    assert options_for(log, others=own) == FOR_SMALL_LOGS | own
    replaced = dict.fromkeys(FOR_SMALL_LOGS, "-Xss4m")
    assert options_for(log, others=replaced) == replaced
