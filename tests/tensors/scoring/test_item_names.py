"""Item ids by number, through a file."""

from pathlib import Path

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import CheckpointError
from crossrec_core.lake import Lake
from crossrec_core.tensors.scoring.item_names import FILE, load_item_names, write_item_names


def test_an_id_lies_at_the_place_of_its_number_whatever_the_order_of_the_rows(lake: Lake, tmp_path: Path) -> None:
    rows = [(3, "Amélie"), (1, "i1"), (5, "")]  # 0 is padding; nobody has the numbers 2 and 4
    for run_id, own in (("a", rows[:1]), ("b", rows[1:])):  # of every run
        write_rows(
            lake, t.ITEM_IDS, [{c.RUN_ID: run_id, c.ITEM_SPACE: "all", c.ITEM_ID: i, c.ITEM_NUM: n} for n, i in own],
            append=True,
        )  # fmt: skip
    write_item_names(lake, str(tmp_path / "names"))
    assert load_item_names(str(tmp_path / "names")).to_pylist() == [None, "i1", None, "Amélie", None, ""]


def test_a_missing_or_broken_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"names\.arrow: cannot be read"):
        load_item_names(str(tmp_path))
    (tmp_path / FILE).write_bytes(b"no arrow")
    with pytest.raises(CheckpointError, match=r"names\.arrow: cannot be read"):
        load_item_names(str(tmp_path))
