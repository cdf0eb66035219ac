"""Ranking metrics by RecTools: measured once per line of stdin. Its MAP divides by all held-out items."""

import pandas as pd
from answers import answer, read_problem
from rectools import Columns
from rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall, calc_metrics

problem = read_problem()
NAMES = {"user_num": Columns.User, "item_num": Columns.Item, "rank": Columns.Rank}
METRICS = {
    "recall": Recall, "precision": Precision, "hr": HitRate, "ndcg": lambda k: NDCG(k, divide_by_achievable=True),
    "map": MAP, "mrr": MRR,
}  # fmt: skip
metrics = {f"{name}@{n}": make(k=n) for name, make in METRICS.items() for n in problem.n}


def measure() -> dict[str, float]:
    lists = pd.read_parquet(problem.lists, columns=["user_num", "item_num", "rank"]).rename(columns=NAMES)
    truth = pd.read_parquet(problem.truth, columns=["user_num", "item_num"]).rename(columns=NAMES)
    return calc_metrics(metrics, lists, truth)


answer(measure)
