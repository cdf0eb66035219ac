"""item_ids in, outside item ids by number out, memory-mapped, so that the workers of a host share them (IO)."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_arrow
from crossrec_core.tables import ITEM_IDS
from crossrec_core.tensors.folders import open_folder, replace_folder

FILE = "names.arrow"


def write_item_names(lake: Lake, folder: str) -> None:
    """Write the item ids of the lake to ``folder`` (a path or URL) in the order of their numbers, all or nothing."""
    rows = read_arrow(lake, ITEM_IDS, columns=[c.ITEM_NUM, c.ITEM_ID]).combine_chunks()
    nums_I = rows[c.ITEM_NUM].to_numpy()
    places = np.full(nums_I.max(initial=0) + 1, -1)
    places[nums_I] = np.arange(len(nums_I))
    names = rows[c.ITEM_ID].combine_chunks().take(pa.array(places, mask=places < 0))
    table = pa.table({c.ITEM_ID: names})
    with replace_folder(folder) as staging, pa.ipc.new_file(str(staging / FILE), table.schema) as writer:
        writer.write_table(table)


def load_item_names(folder: str) -> pa.StringArray:
    """The id of item number i at place i, null where there is no such item. Raises CheckpointError without the file."""
    with open_folder(folder) as local:
        table = _open(local / FILE)
    return table[c.ITEM_ID].chunk(0)


def _open(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); run the step that writes it") from error
