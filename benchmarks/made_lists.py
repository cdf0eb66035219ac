"""Sizes in, made-up recommendations and held-out items as Parquet files out, laid out as in a lake.

U users, N places of a list, I items. Items lie in N groups, the first of few items and the last of many; a list has
one item of each group, in random order, so that few items are in most lists and most are in few.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from crossrec_core import columns as c
from crossrec_core import tables as t

MODEL, DOMAIN = "made", "shop"
FILES = 8
Ints = npt.NDArray[np.int64]


def write_files(folder: Path, *, users: int, items: int, length: int, held_out: int) -> int:
    """Write ``recommendations`` and ``truth``; returns how many items are held out for a user at most.

    The same files for the same sizes. To the columns of the lake the lists add user_num and item_num, as truth has
    them. About ``held_out`` items are held out for a user, popular ones first of all.
    """
    generator = np.random.default_rng(0)
    edges = group_edges(items=items, length=length)
    user_ids, item_ids = _names("u", users), _names("i", items)
    longest = 0
    for part, user_nums in enumerate(np.array_split(np.arange(users), FILES)):
        listed_UN = draw_lists(edges, len(user_nums), generator)
        held, wanted = draw_truth(edges, len(user_nums), generator, held_out=held_out)
        longest = max(longest, int(np.bincount(held).max()))
        ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), len(user_nums))
        _write(folder / t.RECOMMENDATIONS.name, (c.MODEL, c.DOMAIN), part, {
            **_ids(np.repeat(user_nums, length), listed_UN.ravel(), user_ids, item_ids),
            c.RANK: ranks, c.SCORE: 1 / ranks,
        })  # fmt: skip
        _write(folder / t.TRUTH.name, (c.DOMAIN,), part, {
            **_ids(user_nums[held], wanted, user_ids, item_ids),
            c.SEGMENT: np.where(user_nums[held] % 10 == 0, c.COLD_IN_DOMAIN, c.WARM),
            c.IS_KNOWN_ITEM: wanted % 20 != 0, c.IS_HEAD: wanted < edges[length // 2],
        })  # fmt: skip
    return longest


def group_edges(*, items: int, length: int) -> Ints:
    """Where the groups of items begin, and where the last one ends [N + 1]."""
    places = np.arange(length + 1)
    return np.maximum((items * (places / length) ** 3).astype(np.int64), places)


def draw_lists(edges: Ints, users: int, generator: np.random.Generator) -> Ints:
    """Items by place [U, N], none twice in a list."""
    shape = users, len(edges) - 1
    items_UN = _draw_items(edges, np.broadcast_to(np.arange(shape[1]), shape), generator)
    return generator.permuted(items_UN, axis=1)


def draw_truth(edges: Ints, users: int, generator: np.random.Generator, *, held_out: int) -> tuple[Ints, Ints]:
    """Users, from 0, and their held-out items: one at least, none twice; a group is the rarer the larger it is."""
    length = len(edges) - 1
    num_items_U = generator.geometric(1 / held_out, size=users).clip(max=length)
    # Of exponential waiting times the first k are a draw of k groups without replacement, by weight
    waits_UN = generator.exponential(size=(users, length)) * np.arange(1, length + 1)
    held, places = np.nonzero(np.arange(length) < num_items_U[:, None])
    return held, _draw_items(edges, np.argsort(waits_UN, axis=1)[held, places], generator)


def _draw_items(edges: Ints, groups: Ints, generator: np.random.Generator) -> Ints:
    shares = generator.random(groups.shape)
    return edges[groups] + (shares * (edges[groups + 1] - edges[groups])).astype(np.int64)


def _names(letter: str, count: int) -> pa.Array:
    return pa.array(np.char.add(letter, np.arange(count).astype(str)))


def _ids(user_nums: Ints, item_nums: Ints, user_ids: pa.Array, item_ids: pa.Array) -> dict[str, Any]:
    ids = {c.USER_ID: user_ids.take(pa.array(user_nums)), c.ITEM_ID: item_ids.take(pa.array(item_nums))}
    return {**ids, c.USER_NUM: user_nums, c.ITEM_NUM: item_nums}


def _write(root: Path, keys: Sequence[str], part: int, columns: Mapping[str, Any]) -> None:
    """One file of the table's only partition: ``keys`` besides the purpose, in the order of the lake's folders."""
    values = {c.PURPOSE: c.BACKTEST, c.MODEL: MODEL, c.DOMAIN: DOMAIN}
    folder = root.joinpath(*[f"{key}={values[key]}" for key in (c.PURPOSE, *keys)])
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), folder / f"part-{part}.parquet", compression="zstd")
