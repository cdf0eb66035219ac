"""Models of implicit (Frederickson): ALS, BPR, logistic matrix factorisation, item-kNN by cosine and by BM25."""

import numpy as np
import optuna
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.lmf import LogisticMatrixFactorization
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from scipy.sparse import csr_matrix
from search import Model, Options, Scores, by_factors, main


def suggest_als(trial: optuna.Trial) -> Options:
    return {
        "factors": trial.suggest_int("factors", 32, 256, log=True),
        "regularization": trial.suggest_float("regularization", 1e-3, 10.0, log=True),
        "alpha": trial.suggest_float("alpha", 1.0, 100.0, log=True),
        "iterations": trial.suggest_int("iterations", 5, 30),
    }


def suggest_gradient(trial: optuna.Trial) -> Options:
    return {
        "factors": trial.suggest_int("factors", 32, 256, log=True),
        "regularization": trial.suggest_float("regularization", 1e-4, 1.0, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        "iterations": trial.suggest_int("iterations", 20, 200, log=True),
    }


def suggest_cosine(trial: optuna.Trial) -> Options:
    return {"K": trial.suggest_int("K", 5, 1000, log=True)}


def suggest_bm25(trial: optuna.Trial) -> Options:
    k1, b = trial.suggest_float("K1", 0.1, 10.0, log=True), trial.suggest_float("B", 0.0, 1.0)
    return {**suggest_cosine(trial), "K1": k1, "B": b}


def fit_factors(kind: type, matrix: csr_matrix, options: Options, seed: int) -> Scores:
    model = kind(**options, random_state=seed)
    model.fit(matrix, show_progress=False)
    return by_factors(np.asarray(model.user_factors), np.asarray(model.item_factors))


def fit_neighbours(kind: type, matrix: csr_matrix, options: Options, seed: int) -> Scores:
    model = kind(**options)
    model.fit(matrix, show_progress=False)
    return lambda rows_B: (matrix[rows_B] @ model.similarity).toarray()


main({
    "als": Model(suggest_als, lambda *given: fit_factors(AlternatingLeastSquares, *given)),
    "bpr": Model(suggest_gradient, lambda *given: fit_factors(BayesianPersonalizedRanking, *given)),
    "lmf": Model(suggest_gradient, lambda *given: fit_factors(LogisticMatrixFactorization, *given)),
    "cosine": Model(suggest_cosine, lambda *given: fit_neighbours(CosineRecommender, *given)),
    "bm25": Model(suggest_bm25, lambda *given: fit_neighbours(BM25Recommender, *given)),
})  # fmt: skip
