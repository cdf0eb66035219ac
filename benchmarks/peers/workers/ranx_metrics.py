"""Ranking metrics by ranx: measured once per line of stdin. Its MAP divides by all held-out items.

``evaluate`` is given arrays, which it takes as they are; its own Qrels and Run first make dictionaries of text.
"""

import numpy as np
import pandas as pd
from answers import answer, read_problem
from numba.typed import List
from ranx import evaluate

problem = read_problem()
NAMES = {"recall": "recall", "precision": "precision", "hit_rate": "hr", "ndcg": "ndcg", "map": "map", "mrr": "mrr"}
metrics = {f"{metric}@{n}": f"{name}@{n}" for metric, name in NAMES.items() for n in problem.n}


def measure() -> dict[str, float]:
    lists = pd.read_parquet(problem.lists, columns=["user_num", "item_num", "score"])
    lists = lists.sort_values(["user_num", "score"], ascending=[True, False])
    truth = pd.read_parquet(problem.truth, columns=["user_num", "item_num"]).sort_values("user_num")
    run = lists[["item_num", "score"]].to_numpy(dtype=np.float64).reshape(-1, problem.length, 2)
    users, starts = np.unique(truth["user_num"], return_index=True)
    assert np.array_equal(users, lists["user_num"].to_numpy()[:: problem.length]), "lists and truth have other users"
    relevant = np.column_stack([truth["item_num"], np.ones(len(truth))])
    qrels = List(np.split(relevant, starts[1:]))
    found = evaluate(qrels, run, list(metrics), threads=problem.cores)
    return {metrics[metric]: value for metric, value in found.items()}


answer(measure)
