"""The revision that results were made with, and the hashes of their files."""

import hashlib
import subprocess
from pathlib import Path

from benchmarks.quality_suites.origin import hashes, revision


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=made up", "-c", "user.email=made@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *name, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_revision_has_a_plus_where_code_was_changed_and_not_where_results_were(tmp_path):
    for folder in ("jobs", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "jobs/clean.py").write_text("1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert revision(tmp_path) == head
    (tmp_path / "benchmarks/results/new.json").write_text("1\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("1\n", encoding="utf-8")
    assert revision(tmp_path) == head
    (tmp_path / "jobs/new.py").write_text("1\n", encoding="utf-8")
    assert revision(tmp_path) == f"{head}+"


def test_outside_a_checkout_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(tmp_path) == ""


def test_files_are_hashed_by_their_bytes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"raw\n")
    assert hashes({"a.csv": tmp_path / "a.csv"}) == {"a.csv": hashlib.sha256(b"raw\n").hexdigest()}
