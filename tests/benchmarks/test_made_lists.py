"""Made-up lists and held-out items: whole, skewed, and the same every time."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.made_lists import draw_lists, draw_truth, group_edges, write_files


def read(folder, table) -> pd.DataFrame:
    return pq.read_table(folder / table).to_pandas()


def test_the_same_sizes_make_the_same_files(tmp_path):
    most = [write_files(tmp_path / name, users=40, items=60, length=20, held_out=3) for name in ("one", "two")]
    for table in ("recommendations", "truth"):
        assert read(tmp_path / "one", table).equals(read(tmp_path / "two", table))
    assert most[0] == most[1] == read(tmp_path / "one", "truth").groupby("user_id").size().max()


def test_everyone_has_a_whole_list_and_something_held_out_and_no_item_twice(tmp_path):
    write_files(tmp_path, users=40, items=60, length=20, held_out=3)
    lists, truth = read(tmp_path, "recommendations"), read(tmp_path, "truth")
    assert (lists.groupby("user_id")["item_id"].nunique() == 20).all()
    assert sorted(lists["rank"]) == sorted([*range(1, 21)] * 40)
    assert not lists.duplicated(["user_id", "rank"]).any()
    assert set(truth["user_id"]) == set(lists["user_id"]) == {f"u{number}" for number in range(40)}
    assert not truth.duplicated(["user_id", "item_id"]).any()
    for rows in (lists, truth):
        assert (rows["user_id"] == "u" + rows["user_num"].astype(str)).all()
        assert (rows["item_id"] == "i" + rows["item_num"].astype(str)).all()


@pytest.mark.parametrize("items", [20, 21, 60, 5000])
def test_every_group_has_an_item_and_together_they_have_all(items):
    edges = group_edges(items=items, length=20)
    assert (edges[0], edges[-1]) == (0, items)
    assert (np.diff(edges) > 0).all()


def test_few_items_are_in_most_lists_and_popular_ones_are_held_out_first():
    generator = np.random.default_rng(1)
    edges = group_edges(items=5000, length=20)
    listed_UN = draw_lists(edges, 2000, generator)
    held, wanted = draw_truth(edges, 2000, generator, held_out=5)
    popular = edges[5]  # the items of the first five groups of twenty
    assert (listed_UN < popular).mean() == pytest.approx(5 / 20)
    assert (wanted < popular).mean() > 0.4
    assert len(held) / 2000 == pytest.approx(5, rel=0.1)
