"""Artifact folders: files in, a folder that is whole or absent out (IO)."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from safetensors import SafetensorError, safe_open
from torch import Tensor

from crossrec_core.errors import CheckpointError
from crossrec_core.lake import local_path, plain_uri


@contextmanager
def replace_folder(path: str) -> Iterator[Path]:
    """Give an empty local folder to write into; it takes the place of ``path`` when the block ends without an error.

    A local folder is renamed into place. For an object store, which has no rename, the files are uploaded after the
    block, JSON files last: a folder without its JSON is not yet whole.
    """
    local = local_path(path)
    if local is None:
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            _upload(Path(staging), plain_uri(path))
        return
    target = Path(local)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        yield Path(staging)
        os.chmod(staging, 0o755)
        _swap(Path(staging), target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def open_folder(path: str) -> Iterator[Path]:
    """Give the local folder of ``path``: itself, or a copy that lasts as long as the block for an object store."""
    local = local_path(path)
    if local is not None:
        yield Path(local)
        return
    with tempfile.TemporaryDirectory() as copy:
        filesystem, root = url_to_fs(plain_uri(path))
        filesystem.get(root.rstrip("/") + "/", copy + "/", recursive=True)
        yield Path(copy)


def remove_folder(path: str) -> None:
    """Remove a folder (path or URL), if it is there."""
    filesystem, root = url_to_fs(plain_uri(path))
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


def has_file(path: str, name: str) -> bool:
    """Whether the folder at ``path`` (local or URL) holds a file ``name``."""
    filesystem, root = url_to_fs(plain_uri(path))
    return bool(filesystem.exists(f"{root.rstrip('/')}/{name}"))


@contextmanager
def replace_files(path: str, names: Sequence[str]) -> Iterator[Path]:
    """Give an empty local folder for some files of the folder at ``path`` (local or URL).

    They take the place of those when the block ends without an error, each in one step and in this order.
    """
    local = local_path(path)
    with tempfile.TemporaryDirectory(prefix=".new.", dir=local) as staging:
        yield Path(staging)
        for name in names:
            if local is not None:
                os.replace(Path(staging) / name, Path(local) / name)
            else:
                filesystem, root = url_to_fs(plain_uri(path))
                filesystem.put_file(f"{staging}/{name}", f"{root.rstrip('/')}/{name}")


def replace_json(path: str, name: str, content: Any) -> None:
    """Put one JSON file of the folder at ``path`` (local or URL) in the place of another, in one step."""
    with replace_files(path, [name]) as staging:
        write_json(staging / name, content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` with sorted keys, so that equal contents give equal files."""
    path.write_text(_to_text(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises CheckpointError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_first_line(error)}); run the step that writes it") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Memory-map a safetensors file: name -> tensor. Raises CheckpointError when it is missing or broken."""
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping, it has keys()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_first_line(error)}); run the step that writes it") from error


def _swap(staging: Path, target: Path) -> None:
    """Put ``staging`` at ``target``; what was there goes away, but stays readable for those who have it open."""
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    if target.exists():
        os.rename(target, old / "old")
    os.rename(staging, target)
    shutil.rmtree(old, ignore_errors=True)


def _upload(staging: Path, url: str) -> None:
    filesystem, root = url_to_fs(url)
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)
    for file in sorted(staging.iterdir(), key=lambda file: (file.suffix == ".json", file.name)):
        filesystem.put_file(str(file), f"{root.rstrip('/')}/{file.name}")


def _to_text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, indent=1) + "\n"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
