"""A raw log in, cleaned and prepared Parquet out by pandas: the small log first, then the other, a line each."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

folder, max_len, threads, valid_start, test_start, newest, *domains = (Path(sys.argv[1]), *map(int, sys.argv[2:]))
pa.set_cpu_count(threads)
found = folder / "pandas"
NAMES = ["user_id", "domain", "item_id", "event_time"]
ENDS = {"validate": valid_start, "backtest": test_start, "serve": newest + 1}


def prepare(log: Path) -> None:
    """Integers with nulls as Arrow has them: a float would take a text's way back to an id."""
    rows = pd.read_parquet(log, dtype_backend="pyarrow")
    reason = np.select(
        [~rows["domain"].isin(domains), rows["item_id"].isna(), rows["event_time"] > newest],
        ["unknown_domain", "missing_item", "future_time"],
        "",
    )
    sound = rows[reason == ""].astype("int64")
    is_repeat = sound.duplicated(NAMES)
    kept = sound[~is_repeat]
    rejected = rows.assign(reason=reason)[reason != ""]
    repeats = rows.loc[sound.index[is_repeat]].assign(reason="duplicate")
    pd.concat([rejected, repeats]).to_parquet(found / "rejected.parquet", index=False)
    kept.to_parquet(found / "kept.parquet", index=False)
    del rows, reason, sound, is_repeat, rejected, repeats
    user_codes, users = pd.factorize(kept["user_id"])
    pd.DataFrame({"user_id": users, "user_num": np.arange(1, len(users) + 1)}).to_parquet(found / "user_ids.parquet")
    items = kept[["domain", "item_id"]].drop_duplicates()
    items = items.assign(item_num=np.arange(1, len(items) + 1))
    items.to_parquet(found / "item_ids.parquet", index=False)
    events = kept.drop(columns="user_id").assign(user_num=user_codes + 1).merge(items, on=["domain", "item_id"])
    del kept, user_codes
    split = np.where(events["event_time"] < valid_start, "train", "valid")
    split = np.where(events["event_time"] < test_start, split, "test")
    events = events[["user_num", "domain", "item_num", "event_time"]].assign(split=split)
    events.to_parquet(found / "events.parquet", index=False)
    in_order = events.drop(columns="split").sort_values(["user_num", "event_time"])
    for purpose, end in ENDS.items():
        latest = in_order[in_order["event_time"] < end].groupby("user_num").tail(max_len)
        sequences = latest.groupby("user_num")[["item_num", "domain", "event_time"]].agg(list).reset_index()
        sequences.to_parquet(found / f"sequences-{purpose}.parquet", index=False)


for turn, _ in enumerate(sys.stdin):
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    prepare(folder / ("log" if turn else "small"))
    print("solved", flush=True)
