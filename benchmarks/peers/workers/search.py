"""A domain's arrays in, a tuned and refitted model's lists out; runs in the peer's environment, without the product.

U users, I items, B users of a block, N places. The arrays are those of ``benchmarks/peers/exchange.py``. A model says
what may vary and how it is fitted to a sparse U x I matrix; what it gives is scored here for every peer alike: tuned by
NDCG@10 of validation users, at most 20 trials or 30 minutes, then fitted to what backtest may know.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.sparse import csr_matrix

BLOCK_USERS = 1024
JUDGED_AT = 10
Options = dict[str, Any]
Scores = Callable[[np.ndarray], np.ndarray]  # places of users [B] -> scores [B, I]


@dataclass(frozen=True)
class Model:
    """What a peer may vary, and how it is fitted: matrix without explicit zeros, options, seed -> scores."""

    suggest: Callable[[optuna.Trial], Options]
    fit: Callable[[csr_matrix, Options, int], Scores]


@dataclass(frozen=True)
class Known:
    """What one purpose may know."""

    seen: csr_matrix  # with explicit zeros: seen, nothing to learn
    matrix: csr_matrix
    judged: np.ndarray
    exclude_seen: bool


def main(models: Mapping[str, Model]) -> None:
    """The command line of a worker."""
    parser = argparse.ArgumentParser()
    for name in ("model", "problem", "lists", "options"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, default=JUDGED_AT)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30.0)
    given = parser.parse_args()
    with np.load(given.problem) as arrays:
        problem = dict(arrays)
    chosen = Path(given.options)
    if not chosen.exists():
        found = tune(models[given.model], problem, seed=given.seed, trials=given.trials, minutes=given.minutes)
        chosen.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options = json.loads(chosen.read_text(encoding="utf-8"))["options"]
    known = read_known(problem, "backtest")
    started = time.monotonic()
    lists = rank(models[given.model].fit(known.matrix, options, given.seed), known, n=given.n)
    np.savez_compressed(given.lists, lists=lists, seconds=round(time.monotonic() - started, 1))


def read_known(problem: Mapping[str, np.ndarray], purpose: str) -> Known:
    """The matrices of a purpose."""
    shape = len(problem["user_nums"]), len(problem["item_nums"])
    parts = [problem[f"{purpose}_{name}"] for name in ("weights", "indices", "indptr")]
    seen = csr_matrix(tuple(parts), shape=shape)
    matrix = seen.copy()
    matrix.eliminate_zeros()
    return Known(seen, matrix, problem[f"{purpose}_judged"], bool(problem["exclude_seen"]))


def tune(model: Model, problem: Mapping[str, np.ndarray], *, seed: int, trials: int, minutes: float) -> dict[str, Any]:
    """The best options by NDCG@10 on validation, and every trial."""
    known = read_known(problem, "validate")
    truth, starts = problem["validate_truth"], problem["validate_truth_indptr"]
    tried: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        started, options = time.monotonic(), model.suggest(trial)
        lists = rank(model.fit(known.matrix, options, seed), known, n=JUDGED_AT)
        value = mean_ndcg(lists, truth, starts)
        tried.append({"options": options, "ndcg": value, "seconds": round(time.monotonic() - started, 2)})
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials, timeout=60 * minutes)
    best = max(tried, key=lambda trial: trial["ndcg"])
    return {"options": best["options"], "ndcg": best["ndcg"], "trials": tried}


def rank(scores_of: Scores, known: Known, *, n: int) -> np.ndarray:
    """Lists of the judged users, int64 [J, N]: -1 where candidates ran out, ties by item.

    Users without an event get the items with most weight: a factor model has nothing to say of them.
    """
    weight_I = np.asarray(known.matrix.sum(axis=0)).ravel()
    lists = np.full((len(known.judged), n), -1, dtype=np.int64)
    for start in range(0, len(known.judged), BLOCK_USERS):
        rows_B = known.judged[start : start + BLOCK_USERS]
        scores_BI = np.array(scores_of(rows_B), dtype=np.float32)
        scores_BI[np.diff(known.matrix.indptr)[rows_B] == 0] = weight_I
        scores_BI[:, weight_I == 0] = -np.inf
        if known.exclude_seen:
            seen = known.seen[rows_B]
            scores_BI[np.repeat(np.arange(len(rows_B)), np.diff(seen.indptr)), seen.indices] = -np.inf
        places_BN = np.argsort(-scores_BI, axis=1, kind="stable")[:, :n]
        best_BN = np.take_along_axis(scores_BI, places_BN, axis=1)
        lists[start : start + len(rows_B), : places_BN.shape[1]] = np.where(np.isneginf(best_BN), -1, places_BN)
    return lists


def mean_ndcg(lists: np.ndarray, truth: np.ndarray, starts: np.ndarray) -> float:
    """Mean NDCG over the judged users; ``truth[starts[j]:starts[j+1]]`` are user j's items."""
    gains_N = 1 / np.log2(np.arange(2, lists.shape[1] + 2))
    num_truth_J = np.diff(starts)
    users = np.repeat(np.arange(len(lists)), num_truth_J)
    hits = (lists[users] == truth[:, None]) & (truth[:, None] >= 0)
    gained_J = np.bincount(users, weights=hits @ gains_N, minlength=len(lists))
    ideal = np.concatenate(([0.0], np.cumsum(gains_N)))[np.minimum(num_truth_J, lists.shape[1])]
    return float(np.mean(gained_J / np.maximum(ideal, 1e-9)))


def by_factors(users_UD: np.ndarray, items_ID: np.ndarray, biases_I: np.ndarray | None = None) -> Scores:
    """Scores of a factor model; what is the same for all items of a user can be left out."""

    def scores(rows_B: np.ndarray) -> np.ndarray:
        found = users_UD[rows_B] @ items_ID.T
        return found if biases_I is None else found + biases_I

    return scores
