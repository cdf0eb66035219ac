"""Ranking metrics by RePlay on Polars: measured once per line of stdin."""

import polars as pl
from answers import answer, read_problem
from replay_metrics import make_metrics, named

problem = read_problem()


def measure() -> dict[str, float]:
    lists = pl.read_parquet(problem.lists / "**/*.parquet", columns=["user_num", "item_num", "score"])
    truth = pl.read_parquet(problem.truth / "**/*.parquet", columns=["user_num", "item_num"])
    return named(make_metrics(problem.n)(lists, truth))


answer(measure)
