"""An item in, the items nearest to it out: by the neural item vectors of the published run, else by transitions.

V candidate items of the domain, D width of their vectors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.lists import Served
from crossrec_core.errors import CheckpointError, InputError
from crossrec_core.lake import Lake, candidates_location, local_path, plain_uri
from crossrec_core.lake_reader import Answer, connect, parts_of, query, read_rows

ITEM = "SELECT item_num FROM item_features WHERE domain = $1 AND item_id = $2"
NAMED = """
SELECT nearest.rank, item_features.item_id, item_features.title, nearest.score, $4 AS by
FROM (
    SELECT unnest($2::BIGINT[]) AS item_num, unnest($3::DOUBLE[]) AS score, unnest(range(1, len($2) + 1)) AS rank
) AS nearest
INNER JOIN item_features ON item_features.item_num = nearest.item_num AND item_features.domain = $1
ORDER BY nearest.rank
"""
# Where serving refits nothing, the lists come from the models of the backtest
PURPOSES = (c.SERVE, c.BACKTEST)
STRONGEST = """
SELECT next_item_num, max(weight) AS weight
FROM transitions
WHERE purpose = $4 AND domain = $1 AND item_num = $2 AND next_item_num <> $2
GROUP BY next_item_num
ORDER BY weight DESC, next_item_num
LIMIT $3
"""


def find_similar(lake: Lake, served: Served, item_id: str, *, n: int) -> Answer:
    """The ``n`` nearest items: rank, item_id, title, score and by (which model's vectors, or transitions).

    Raises:
        InputError: the domain has no such item.
    """
    tables = (t.ITEM_FEATURES, t.TRANSITIONS)
    with connect(lake, run_id=served.run_id, tables=tables) as connection:
        found = query(connection, ITEM, [served.domain, item_id]).rows
        if not found:
            raise InputError(f"item {item_id!r}: not in domain {served.domain}; see `crossrec sql` on item_features")
        item_num = int(found[0][0])
        neighbours, by = _by_vectors(lake, served, item_num, n), "item vectors"
        for purpose in PURPOSES:
            if not neighbours:
                strongest = query(connection, STRONGEST, [served.domain, item_num, n, purpose]).rows
                neighbours, by = [(int(num), float(weight)) for num, weight in strongest], "transitions"
        nums, scores = [num for num, _ in neighbours], [score for _, score in neighbours]
        return query(connection, NAMED, [served.domain, nums, scores, by])


def _by_vectors(lake: Lake, served: Served, item_num: int, n: int) -> list[tuple[int, float]]:
    """Nearest candidates by cosine; none without a neural model, or where the item is no candidate."""
    neural = [
        row for row in read_rows(lake, t.MODELS, where={c.RUN_ID: served.run_id, c.PURPOSE: PURPOSES})
        if row[c.KIND] == "neural" and row[c.DOMAIN] == served.domain
    ]  # fmt: skip
    if not neural:
        return []
    chosen = min(
        neural, key=lambda row: (row[c.MODEL] not in served.models, PURPOSES.index(row[c.PURPOSE]), row[c.MODEL])
    )
    labels = read_rows(lake, t.LABEL_IDS)
    domain_nums = {row[c.LABEL_NAME]: row[c.LABEL_NUM] for row in labels if row[c.KIND] == "domain"}
    whole_night = parts_of(lake, served.run_id)[-1]
    candidates = f"{candidates_location(whole_night, chosen[c.PURPOSE])}/candidates.safetensors"
    items_V = _read_array(lake.at(candidates), f"items_{domain_nums[served.domain]}")
    vectors_VD = _read_array(lake.at(f"{chosen['location']}/vectors_VD.safetensors"), "vectors_VD")
    return nearest(items_V, vectors_VD, item_num, n=n)


def nearest(
    items_V: NDArray[np.int64], vectors_VD: NDArray[np.float32], item_num: int, *, n: int
) -> list[tuple[int, float]]:
    """The ``n`` items nearest to ``item_num`` by cosine, ties by item number; none when it is not among ``items_V``.

    ``items_V`` ascends.
    """
    position = int(np.searchsorted(items_V, item_num))
    if position == len(items_V) or items_V[position] != item_num:
        return []
    lengths_V = np.linalg.norm(vectors_VD, axis=1)
    scale_V = np.where(lengths_V > 0, lengths_V, 1.0) * (lengths_V[position] or 1.0)
    cosine_V = vectors_VD @ vectors_VD[position] / scale_V
    order = [int(place) for place in np.argsort(-cosine_V, kind="stable")[: n + 1] if place != position]
    return [(int(items_V[place]), float(cosine_V[place])) for place in order[:n]]


def _read_array(path: str, name: str) -> NDArray[Any]:
    """One array of a safetensors file of the lake. Raises CheckpointError when it cannot be read."""
    local = local_path(path) or _downloaded(path)
    try:
        with safe_open(Path(local), framework="np") as stored:
            array: NDArray[Any] = stored.get_tensor(name)
            return array
    except (OSError, SafetensorError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read ({first}); run the step that writes it") from error


def _downloaded(path: str) -> str:
    """A local copy of a file in an object store, kept for the process."""
    copies: Sequence[str] | str = fsspec.open_local(f"simplecache::{plain_uri(path)}")
    return copies if isinstance(copies, str) else copies[0]
