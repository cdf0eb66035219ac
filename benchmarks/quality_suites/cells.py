"""Users' measures in, the cells of a segment and their bootstrapped means out. A cell is a user, a domain and a cut.

U users, K means, R resamples.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.quality_suites.bootstrap import Floats, ratio, resample_sums
from benchmarks.quality_suites.suite import ALL
from crossrec_core import columns as c

OWN_SEGMENTS = (c.WARM, c.COLD_IN_DOMAIN, c.NEW)
CELL = ["cut", c.DOMAIN, c.USER_ID]


def in_segment(values: pd.DataFrame, segment: str) -> pd.DataFrame:
    """The rows of users' measures that count for a reported segment.

    user_metrics stores a user's measure over all truth under the user's own segment, over known and cold items apart.

    Raises:
        ValueError: a segment that cannot be made of these.
    """
    if segment == ALL:
        return values[values[c.SEGMENT].isin(OWN_SEGMENTS)]
    if segment in (*OWN_SEGMENTS, c.COLD_ITEMS):
        return values[values[c.SEGMENT] == segment]
    known, own = values[values[c.SEGMENT] == c.KNOWN_ITEMS], segment.removeprefix(f"{c.KNOWN_ITEMS}_")
    if segment == c.KNOWN_ITEMS:
        return known
    if own not in OWN_SEGMENTS:
        raise ValueError(
            f"segment {segment!r}; expected {ALL}, {c.KNOWN_ITEMS}, {c.COLD_ITEMS}, "
            f"{', '.join(OWN_SEGMENTS)}, or one of these after '{c.KNOWN_ITEMS}_'"
        )
    users = values.loc[values[c.SEGMENT] == own, CELL].drop_duplicates()
    return known.merge(users, on=CELL, how="inner")


def to_cells(values: pd.DataFrame, metric: str, n: int) -> pd.DataFrame:
    """One segment's rows to a row per cell and a column per model; NaN where a model was not measured."""
    own = values[(values[c.METRIC] == metric) & (values[c.N] == n)]
    return own.pivot(index=CELL, columns=c.MODEL, values="value")


def bootstrap_means(
    cells: Sequence["pd.Series[float]"], *, samples: int, seed: int, counts: Sequence["pd.Series[float]"] = ()
) -> tuple[Floats, Floats]:  # fmt: skip
    """The mean of each series of cells [K], and of its resamples [R, K]; users are drawn with all their cells.

    With ``counts``, a series beside each of ``cells``, these are sums and the mean is over what was counted.
    """
    users = pd.Index(np.unique(np.concatenate([each.index.get_level_values(c.USER_ID) for each in cells])))
    sums_UK, counts_UK = (np.zeros((len(users), len(cells))) for _ in range(2))
    for at, each in enumerate(cells):
        user_of = users.get_indexer(each.index.get_level_values(c.USER_ID))
        sums_UK[:, at] = np.bincount(user_of, weights=each.to_numpy(), minlength=len(users))
        counted = counts[at].to_numpy() if counts else None
        counts_UK[:, at] = np.bincount(user_of, weights=counted, minlength=len(users))
    drawn = resample_sums(np.concatenate([sums_UK, counts_UK], axis=1), samples=samples, seed=seed)
    means_K = ratio(sums_UK.sum(axis=0), counts_UK.sum(axis=0))
    return means_K, ratio(drawn[:, : len(cells)], drawn[:, len(cells) :])
