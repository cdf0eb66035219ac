"""Where a table, checkpoint or view lives in the lake. Strings in, strings out, no IO."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LOCAL_SCHEME = "file://"
# Hadoop's spelling -> deltalake's and fsspec's spelling of the same storage
_OBJECT_SCHEMES = {"s3a://": "s3://", "s3n://": "s3://"}


@dataclass(frozen=True)
class Lake:
    """A lake: its folder or URL, and what deltalake needs to reach it."""

    path: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def at(self, location: str) -> str:
        """The path of something inside the lake, in Hadoop's spelling."""
        return f"{self.path.rstrip('/')}/{location}"


def model_location(run_id: str, purpose: str, model: str, domain: str) -> str:
    """Artifact folder of a fitted model, relative to the lake: what the models table stores."""
    return f"checkpoints/{run_id}/{purpose}/{model}/{domain}"


def candidates_location(run_id: str, purpose: str) -> str:
    """Folder, relative to the lake, of the candidate items that all models of a purpose score."""
    return f"checkpoints/{run_id}/{purpose}/candidates"


def item_names_location(run_id: str, purpose: str) -> str:
    """Folder, relative to the lake, of the item ids that the lists of a purpose were written with."""
    return f"checkpoints/{run_id}/{purpose}/item_names"


def tune_location(run_id: str) -> str:
    """Folder, relative to the lake, of a run's folds and studies; it goes when the run's checkpoints go."""
    return f"checkpoints/{run_id}/tune"


def views_location(run_id: str) -> str:
    """Folder, relative to the lake, of the SQL views of the release that published a run."""
    return f"sql/{run_id}/views"


def local_path(path: str) -> str | None:
    """The path on this machine, or None for an object store or HDFS."""
    if path.startswith(LOCAL_SCHEME):
        return path[len(LOCAL_SCHEME) :]
    return None if "://" in path else path


def plain_uri(path: str) -> str:
    """The path in the spelling of deltalake, fsspec and DuckDB: plain for local folders, s3:// for s3a://."""
    local = local_path(path)
    if local is not None:
        return local
    for hadoop, plain in _OBJECT_SCHEMES.items():
        if path.startswith(hadoop):
            return plain + path[len(hadoop) :]
    return path
