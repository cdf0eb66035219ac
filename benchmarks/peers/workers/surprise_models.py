"""Surprise's SVD (Hug 2020). It predicts ratings: seen pairs are rated 1, as many unseen ones drawn by chance 0."""

import numpy as np
import optuna
import pandas as pd
from scipy.sparse import csr_matrix
from search import Model, Options, Scores, by_factors, main
from surprise import SVD, Dataset, Reader


def suggest(trial: optuna.Trial) -> Options:
    return {
        "n_factors": trial.suggest_int("n_factors", 16, 128, log=True),
        "n_epochs": trial.suggest_int("n_epochs", 5, 60, log=True),
        "lr_all": trial.suggest_float("lr_all", 2e-3, 5e-2, log=True),
        "reg_all": trial.suggest_float("reg_all", 2e-3, 0.2, log=True),
        "zeros_per_one": trial.suggest_int("zeros_per_one", 1, 5),
    }


def fit(matrix: csr_matrix, options: Options, seed: int) -> Scores:
    users, items = matrix.nonzero()
    drawn = np.random.default_rng(seed)
    num_zeros = len(users) * options["zeros_per_one"]
    # Drawn by activity of the user; the few that are seen after all are dropped
    zero_users, zero_items = drawn.choice(users, num_zeros), drawn.integers(matrix.shape[1], size=num_zeros)
    unseen = np.asarray(matrix[zero_users, zero_items]).ravel() == 0
    rated = pd.DataFrame({
        "user": np.concatenate([users, zero_users[unseen]]), "item": np.concatenate([items, zero_items[unseen]]),
        "rating": np.concatenate([np.ones(len(users)), np.zeros(int(unseen.sum()))]),
    })  # fmt: skip
    rows = Dataset.load_from_df(rated, Reader(rating_scale=(0, 1))).build_full_trainset()
    own = {name: value for name, value in options.items() if name != "zeros_per_one"}
    model = SVD(**own, random_state=seed)
    model.fit(rows)
    users_UD = np.zeros((matrix.shape[0], options["n_factors"]), dtype=np.float32)
    items_ID, biases_I = np.zeros((matrix.shape[1], options["n_factors"]), dtype=np.float32), np.zeros(matrix.shape[1])
    users_UD[[rows.to_raw_uid(inner) for inner in range(rows.n_users)]] = model.pu
    known_items = [rows.to_raw_iid(inner) for inner in range(rows.n_items)]
    items_ID[known_items], biases_I[known_items] = model.qi, model.bi
    return by_factors(users_UD, items_ID, biases_I)


main({"svd": Model(suggest, fit)})
