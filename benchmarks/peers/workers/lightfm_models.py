"""LightFM (Kula 2015) with the WARP loss, ids alone."""

import os

import numpy as np
import optuna
from lightfm import LightFM
from scipy.sparse import csr_matrix
from search import Model, Options, Scores, by_factors, main


def suggest(trial: optuna.Trial) -> Options:
    return {
        "no_components": trial.suggest_int("no_components", 32, 256, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 5e-3, 0.2, log=True),
        "item_alpha": trial.suggest_float("item_alpha", 1e-8, 1e-4, log=True),
        "user_alpha": trial.suggest_float("user_alpha", 1e-8, 1e-4, log=True),
        "max_sampled": trial.suggest_int("max_sampled", 5, 50, log=True),
        "epochs": trial.suggest_int("epochs", 5, 60, log=True),
    }


def fit(matrix: csr_matrix, options: Options, seed: int) -> Scores:
    own = {name: value for name, value in options.items() if name != "epochs"}
    model = LightFM(loss="warp", random_state=np.random.RandomState(seed), **own)
    positives = (matrix > 0).astype(np.int32).tocoo()
    model.fit(positives, epochs=options["epochs"], num_threads=len(os.sched_getaffinity(0)))
    biases_I, items_ID = model.get_item_representations()
    return by_factors(model.get_user_representations()[1], items_ID, biases_I)


main({"warp": Model(suggest, fit)})
