"""A checkout and raw files in, what results came from out (IO)."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

CODE = ("crossrec_core", "jobs", "conf", "benchmarks", ":!benchmarks/results")  # what a measure depends on


def revision(root: Path) -> str:
    """The checkout's short revision, with + where its code was changed since; empty outside a checkout."""
    head = _git(root, "rev-parse", "--short", "HEAD").strip()
    return f"{head}+" if head and _git(root, "status", "--porcelain", "--", *CODE).strip() else head


def hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of files by name."""
    return {name: sha256(path) for name, path in files.items()}


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return ""
    return done.stdout if done.returncode == 0 else ""
