"""A prepared run in, one file of arrays per domain for the workers out; their lists in, users' measures out (IO).

U users and I items of a domain, J judged users, N places of a list. Users and items are places in ``user_nums`` [U] and
``item_nums`` [I]: items with an event that backtest may know, users with such an event or with truth.

    PURPOSE_indptr, _indices, _weights   known events as a sparse U x I matrix; weight 0: seen, but nothing to learn
    PURPOSE_judged                       int64 [J], the users whose lists are wanted
    validate_truth_indptr, _truth        the judged users' held-out items, -1 for one that is no candidate
    exclude_seen                         whether seen items are no candidates

PURPOSE is validate or backtest. Candidates are the items with a weight above zero for the purpose.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import SparkSession
from scipy.sparse import csr_matrix

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.evaluation.metrics import to_user_metrics, to_user_values
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake_reader import read_arrow
from crossrec_core.settings import Settings
from jobs.steps import Night

PURPOSES = (c.VALIDATE, c.BACKTEST)
SAMPLE_SEED = 5
Ints = npt.NDArray[np.int64]


def write_problem(settings: Settings, night: Night, domain: str, file: Path) -> None:
    """Write a domain's arrays; validation users are a sample of at most ``split.max_validation_users``."""
    where = {c.RUN_ID: night.run_id, c.DOMAIN: domain}
    names = [c.USER_NUM, c.ITEM_NUM, c.WEIGHT, c.SPLIT]
    events = read_arrow(night.lake, t.SPLIT_INTERACTIONS, where=where, columns=names).to_pandas()
    truths = {
        purpose: read_truth(night, purpose, domain).query(f"{c.SEGMENT} != '{c.NEW}'") for purpose in PURPOSES
    }  # fmt: skip
    arrays = to_arrays(
        events, truths, max_validation_users=settings.split.max_validation_users,
        exclude_seen=settings.domains[domain].exclude_seen,
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)


def read_truth(night: Night, purpose: str, domain: str) -> pd.DataFrame:
    """Held-out items: user_id, user_num, item_num, segment."""
    where = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.DOMAIN: domain}
    names = [c.USER_ID, c.USER_NUM, c.ITEM_NUM, c.SEGMENT]
    return read_arrow(night.lake, t.TRUTH, where=where, columns=names).to_pandas()


def to_arrays(
    events: pd.DataFrame, truths: dict[str, pd.DataFrame], *, max_validation_users: int, exclude_seen: bool
) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of ``write_problem``, of one domain's split_interactions and truth."""
    teaches = events[c.SPLIT].isin(c.KNOWN_SPLITS[c.BACKTEST])
    item_nums = np.unique(events.loc[teaches, c.ITEM_NUM])
    known = events[events[c.ITEM_NUM].isin(item_nums)]
    user_nums = np.unique(np.concatenate([known[c.USER_NUM], *(truth[c.USER_NUM] for truth in truths.values())]))
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "user_nums": user_nums, "item_nums": item_nums, "exclude_seen": np.array(exclude_seen),
    }  # fmt: skip
    for purpose, truth in truths.items():
        matrix = _to_matrix(known, purpose, user_nums, item_nums)
        judged = np.unique(truth[c.USER_NUM])
        if purpose == c.VALIDATE:
            judged = np.sort(np.random.default_rng(SAMPLE_SEED).permutation(judged)[:max_validation_users])
            arrays |= _to_truth(truth, judged, matrix, item_nums)
        arrays |= {
            f"{purpose}_indptr": matrix.indptr, f"{purpose}_indices": matrix.indices, f"{purpose}_weights": matrix.data,
            f"{purpose}_judged": np.searchsorted(user_nums, judged),
        }  # fmt: skip
    return arrays


def read_lists(problem: Path, lists: Path, *, model: str, domain: str) -> pd.DataFrame:
    """A worker's lists for backtest: model, domain, user_num, item_num, rank."""
    with np.load(problem) as arrays, np.load(lists) as found:
        places_JN, judged_J = found["lists"], arrays[f"{c.BACKTEST}_judged"]
        users_J, item_nums = arrays["user_nums"][judged_J], arrays["item_nums"]
    rows, ranks = np.nonzero(places_JN >= 0)
    return pd.DataFrame({
        c.MODEL: model, c.DOMAIN: domain, c.USER_NUM: users_J[rows], c.ITEM_NUM: item_nums[places_JN[rows, ranks]],
        c.RANK: ranks + 1,
    })  # fmt: skip


def read_seconds(lists: Path) -> float:
    """How long the worker took to fit with the options found, and to list."""
    with np.load(lists) as found:
        return float(found["seconds"])


def measure_lists(listed: pd.DataFrame, night: Night, spark: SparkSession, *, lists: list[int]) -> pd.DataFrame:
    """Long rows of user_metrics, as evaluate makes them, for lists of every model and domain (``read_lists``)."""
    truth = read_table(spark, night.lake, t.TRUTH, run_id=night.run_id, where={c.PURPOSE: c.BACKTEST})
    truth = truth.where(f"{c.SEGMENT} != '{c.NEW}'")  # they would get a list for new users, which no peer makes
    # Numbers stand for outside ids on both sides: user_num and item_num are one to one with them
    as_text = {c.USER_ID: truth[c.USER_NUM].cast("string"), c.ITEM_ID: truth[c.ITEM_NUM].cast("string")}
    ids = truth.select(c.DOMAIN, c.USER_ID, c.USER_NUM).distinct().toPandas()
    recommendations = spark.createDataFrame(
        listed.assign(**{
            c.PURPOSE: c.BACKTEST, c.USER_ID: listed[c.USER_NUM].astype(str), c.ITEM_ID: listed[c.ITEM_NUM].astype(str),
        })[[c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID, c.ITEM_ID, c.RANK]]
    )  # fmt: skip
    values = to_user_values(recommendations, truth.withColumns(as_text), lists=lists)
    measured = to_user_metrics(values, lists=lists, keep=lists).toPandas()
    measured[c.USER_NUM] = measured[c.USER_ID].astype(np.int64)
    return measured.drop(columns=[c.PURPOSE, c.USER_ID]).merge(ids, on=[c.DOMAIN, c.USER_NUM]).drop(columns=c.USER_NUM)


def _to_matrix(events: pd.DataFrame, purpose: str, user_nums: Ints, item_nums: Ints) -> csr_matrix:
    """Summed weights by user and item; seen without a weight is an explicit zero."""
    teaches = events[c.SPLIT].isin(c.KNOWN_SPLITS[purpose])
    seen = events[teaches | ~events[c.SPLIT].isin(c.KNOWN_SPLITS[c.SERVE])]
    weights = seen[c.WEIGHT].where(teaches[seen.index], 0.0).to_numpy(dtype=np.float32)
    places = np.searchsorted(user_nums, seen[c.USER_NUM]), np.searchsorted(item_nums, seen[c.ITEM_NUM])
    matrix = csr_matrix((weights, places), shape=(len(user_nums), len(item_nums)))
    matrix.sum_duplicates()
    return matrix


def _to_truth(
    truth: pd.DataFrame, judged: Ints, matrix: csr_matrix, item_nums: Ints
) -> dict[str, npt.NDArray[np.generic]]:
    """Held-out items of the judged users, in their order."""
    own = truth[truth[c.USER_NUM].isin(judged)].sort_values([c.USER_NUM, c.ITEM_NUM])
    nums = own[c.ITEM_NUM].to_numpy()
    places = np.searchsorted(item_nums, nums).clip(max=len(item_nums) - 1)
    is_candidate = (item_nums[places] == nums) & (np.asarray(matrix.sum(axis=0)).ravel()[places] > 0)
    ends = np.searchsorted(own[c.USER_NUM].to_numpy(), judged, side="right")
    return {
        f"{c.VALIDATE}_truth": np.where(is_candidate, places, -1),
        f"{c.VALIDATE}_truth_indptr": np.concatenate(([0], ends)),
    }
