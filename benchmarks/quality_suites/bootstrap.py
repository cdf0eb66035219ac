"""Users' values in, values with intervals and Holm-adjusted paired differences out.

Users are the clusters: a user who counts in several cuts or domains is drawn with all of them (Field and Welsh 2007).
A mean over cells is a ratio of two sums over users, and every model shares the resampled users, so that differences
are paired.

U users, C columns (a sum or a count each), R resamples, K hypotheses.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.05
ROWS_AT_ONCE = 250  # bounds the [rows, U] weights


def p_value(drawn_R: Floats) -> float:
    """Two-sided p of "the difference is zero": twice the share of resamples on the rarer side of it.

    Never 0 (Davison and Hinkley 1997, 4.2): R resamples cannot say less than 2 / (R + 1).
    """
    defined = drawn_R[~np.isnan(drawn_R)]
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (rarer + 1) / (len(defined) + 1)))


def resample_sums(sums_UC: Floats, *, samples: int, seed: int) -> Floats:
    """The columns' sums over ``samples`` draws of U users with replacement, [R, C]."""
    generator = np.random.default_rng(seed)
    num_users = len(sums_UC)
    found = np.empty((samples, sums_UC.shape[1]))
    for start in range(0, samples, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, samples - start)
        drawn = generator.integers(0, num_users, (rows, num_users)) + num_users * np.arange(rows)[:, None]
        weights_RU = np.bincount(drawn.ravel(), minlength=rows * num_users).reshape(rows, num_users)
        found[start : start + rows] = weights_RU.astype(np.float64) @ sums_UC
    return found


def ratio(above: Floats, below: Floats) -> Floats:
    """NaN where the denominator is zero."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def percentile_interval(drawn_R: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """The 1 - ``level`` percentile interval; of the resamples in which the value is defined."""
    defined = drawn_R[~np.isnan(drawn_R)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [50 * level, 100 - 50 * level])
    return float(low), float(high)


def holm(p_values_K: Floats) -> Floats:
    """Adjusted p values of a family (Holm 1979): [K], in the order given."""
    order = np.argsort(p_values_K, kind="stable")
    stepped = np.asarray(p_values_K)[order] * np.arange(len(order), 0, -1)
    adjusted_K = np.empty(len(order))
    adjusted_K[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted_K


def holm_levels(p_values_K: Floats, *, level: float = LEVEL) -> Floats:
    """The level at which each hypothesis is tested, [K]: its interval at 1 - that says what Holm's test says.

    The k-th smallest p value is held against ``level / (K - k + 1)``; all from the first one that fails on share the
    level that it failed at.
    """
    order = np.argsort(p_values_K, kind="stable")
    levels = level / np.arange(len(order), 0, -1)
    fails = np.flatnonzero(np.asarray(p_values_K)[order] > levels)
    if len(fails):
        levels[fails[0] :] = levels[fails[0]]
    found_K = np.empty(len(order))
    found_K[order] = levels
    return found_K
