"""A lake's pair probabilities in, the ECE that chance alone would give a calibrated model out.

Labels are drawn from the probabilities themselves, so that these are calibrated to perfection: pair by pair, and with
an offset of the logit per user, as the users' residuals have it. ECE is that of docs/metrics.md, but that ties are cut.

python benchmarks/chance_ece.py .cache/quality/probability_movielens/lakes/main-2000-09-01     # a lake that was kept
"""

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import pandas as pd
import typer

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_arrow

BINS = 15
# A normal offset flattens a logistic curve by 1 / sqrt(1 + 0.346 variance); the logits are spread by that beforehand
FLATTENING = 0.346

Floats = npt.NDArray[np.float64]


def main(
    lake: Annotated[str, typer.Argument(help="A lake with one run.")],
    model: Annotated[str, typer.Option(help="Whose probabilities.")] = c.CROSSREC,
    draws: Annotated[int, typer.Option(help="Sets of labels.", min=100)] = 2000,
) -> None:
    """Print the model's ECE on the backtest, and what draws of calibrated labels have."""
    pairs = read_arrow(Lake(lake), t.PAIR_PROBABILITIES, where={c.PURPOSE: c.BACKTEST, c.MODEL: model}).to_pandas()
    p, y = pairs[c.PROBABILITY].to_numpy(), pairs[c.LABEL].to_numpy(dtype=np.float64)
    users = pd.factorize(pairs[c.USER_ID])[0]
    spread = spread_of_users(p, y, users)
    print(f"{model}: {len(p)} pairs of {users.max() + 1} users, ECE {ece(p, y):.4f}, spread of users {spread:.2f}")
    for name, width in (("pairs alone", 0.0), ("users' offsets too", spread)):
        generator = np.random.default_rng(0)
        found = [ece(p, draw_labels(p, users, width, generator)) for _ in range(draws)]
        low, high = np.quantile(found, [0.05, 0.95])
        print(f"{name}: mean {np.mean(found):.4f}, 5th to 95th percentile {low:.4f} to {high:.4f}")


def ece(p: Floats, y: Floats) -> float:
    """Mean over pairs of the distance between mean probability and rate in bins of equal mass."""
    bins = np.empty(len(p), dtype=np.int64)
    bins[p.argsort(kind="stable")] = BINS * np.arange(len(p)) // len(p)
    return float(np.abs(np.bincount(bins, p - y, minlength=BINS)).sum() / len(p))


def spread_of_users(p: Floats, y: Floats, users: npt.NDArray[np.int64]) -> float:
    """Standard deviation of the users' offsets of the logit, by moments: E[(sum of y - p)^2] = v + variance * v^2."""
    residual_U, v_U = np.bincount(users, y - p), np.bincount(users, p * (1 - p))
    return float(np.sqrt(max((residual_U**2 - v_U).sum() / (v_U**2).sum(), 0.0)))


def draw_labels(p: Floats, users: npt.NDArray[np.int64], spread: float, generator: np.random.Generator) -> Floats:
    """Labels of which p is the probability over all users (nearly so, with offsets)."""
    offsets_P = generator.normal(0, spread, users.max() + 1)[users]
    logits_P = np.log(p / (1 - p)) * np.sqrt(1 + FLATTENING * spread**2) + offsets_P
    return (generator.random(len(p)) < 1 / (1 + np.exp(-logits_P))).astype(np.float64)


if __name__ == "__main__":
    typer.run(main)
