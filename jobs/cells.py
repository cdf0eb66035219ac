"""Folders of fitted models in, an index of their candidates' vectors in each that is large enough, out (IO)."""

import time
from collections.abc import Sequence

from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import has_file, open_folder, replace_files
from crossrec_core.tensors.retrieval.cells import ABOUT_FILE, CELLS_FILE, build_cells, require_faiss
from crossrec_core.tensors.scoring.scorer import stored_vectors
from jobs.steps import Night


def ensure_cells(locations: Sequence[str], settings: Settings, night: Night) -> int:
    """Build the indexes that are not there yet, one after the other on all cores of the driver; returns how many.

    An index lies with its model, so that all workers map the same file.

    Raises:
        ConfigError: the package faiss is not installed.
    """
    require_faiss()
    num_built = 0
    for location in locations:
        path = night.lake.at(location)
        if has_file(path, ABOUT_FILE):
            continue
        with open_folder(path) as folder:
            vectors_at = stored_vectors(folder)
            if vectors_at is None or vectors_at.num_items < settings.score.cells_from:
                continue
            started = time.monotonic()
            with replace_files(path, [CELLS_FILE, ABOUT_FILE]) as staging:
                number = build_cells(staging, vectors_at, seed=settings.train.seed)
        num_built += 1
        print(
            f"index of {location}: {vectors_at.num_items:,} candidates in {number:,} cells, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )  # fmt: skip
    return num_built
