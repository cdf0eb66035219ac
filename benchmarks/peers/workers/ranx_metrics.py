"""Ranking metrics by ranx: measured once per line of stdin. Its MAP divides by all held-out items."""

import pandas as pd
from answers import answer, read_problem
from ranx import Qrels, Run, evaluate

problem = read_problem()
NAMES = {"recall": "recall", "precision": "precision", "hit_rate": "hr", "ndcg": "ndcg", "map": "map", "mrr": "mrr"}
metrics = {f"{metric}@{n}": f"{name}@{n}" for metric, name in NAMES.items() for n in problem.n}


def measure() -> dict[str, float]:
    lists = pd.read_parquet(problem.lists, columns=["user_id", "item_id", "score"])
    truth = pd.read_parquet(problem.truth, columns=["user_id", "item_id"]).assign(score=1)
    run = Run.from_df(lists, q_id_col="user_id", doc_id_col="item_id")
    qrels = Qrels.from_df(truth, q_id_col="user_id", doc_id_col="item_id")
    found = evaluate(qrels, run, list(metrics), threads=problem.cores, save_results_in_run=False)
    return {metrics[metric]: value for metric, value in found.items()}


answer(measure)
