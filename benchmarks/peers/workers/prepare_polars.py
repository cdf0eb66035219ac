"""A raw log in, cleaned and prepared Parquet out by Polars: the small log first, then the other, a line each."""

import os
import shutil
import sys
from pathlib import Path

folder, max_len, threads, valid_start, test_start, newest, *domains = (Path(sys.argv[1]), *map(int, sys.argv[2:]))
os.environ["POLARS_MAX_THREADS"] = str(threads)  # read when polars is imported

import polars as pl

found = folder / "polars"
NAMES = ["user_id", "domain", "item_id", "event_time"]
ENDS = {"validate": valid_start, "backtest": test_start, "serve": newest + 1}


def prepare(log: Path) -> None:
    """Every query runs on the streaming engine; what several of them read is collected once."""
    # A repeat is as good as what it repeats, so that counting them tells which stay and which go
    rows = pl.scan_parquet(log / "*.parquet").group_by(NAMES).agg(pl.len().alias("times"))
    reason = (
        pl.when(~pl.col("domain").is_in(domains)).then(pl.lit("unknown_domain"))
        .when(pl.col("item_id").is_null()).then(pl.lit("missing_item"))
        .when(pl.col("event_time") > newest).then(pl.lit("future_time"))
    )  # fmt: skip
    judged = rows.with_columns(reason.alias("reason")).collect(engine="streaming").lazy()
    kept = judged.filter(pl.col("reason").is_null()).select(NAMES)
    extra = pl.col("times").cast(pl.Int64) - pl.col("reason").is_null().cast(pl.Int64)
    rejected = judged.with_columns(extra.alias("times"), pl.col("reason").fill_null("duplicate")).filter(
        pl.col("times") > 0
    )
    kept.sink_parquet(found / "kept.parquet")
    rejected.select(pl.col(*NAMES, "reason").repeat_by("times")).explode(pl.all()).sink_parquet(
        found / "rejected.parquet"
    )
    numbers = {}
    for name, keys in (("user", ["user_id"]), ("item", ["domain", "item_id"])):
        distinct = kept.select(keys).unique().with_row_index(f"{name}_num", offset=1)
        numbers[name] = distinct.collect(engine="streaming").lazy()
        numbers[name].sink_parquet(found / f"{name}_ids.parquet")
    split = pl.when(pl.col("event_time") < valid_start).then(pl.lit("train"))
    split = split.when(pl.col("event_time") < test_start).then(pl.lit("valid")).otherwise(pl.lit("test"))
    events = (
        kept.join(numbers["user"], on="user_id")
        .join(numbers["item"], on=["domain", "item_id"])
        .select("user_num", "domain", "item_num", "event_time", split.alias("split"))
        .collect(engine="streaming")
        .lazy()
    )
    events.sink_parquet(found / "events.parquet")
    for purpose, end in ENDS.items():
        latest = pl.col("item_num", "domain", "event_time").sort_by("event_time").tail(max_len)
        sequences = events.filter(pl.col("event_time") < end).group_by("user_num").agg(latest)
        sequences.sink_parquet(found / f"sequences-{purpose}.parquet")


for turn, _ in enumerate(sys.stdin):
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    prepare(folder / ("log" if turn else "small"))
    print("solved", flush=True)
