"""Known events in, what is known of likes out: of whom the click probability asks where labels are values."""

from collections.abc import Sequence

import pyarrow.compute as pc
import torch
from pyspark.sql import DataFrame
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.frames.prepared.likes import to_likes
from crossrec_core.lake_reader import read_arrow
from crossrec_core.settings import Settings
from crossrec_core.tables import Table
from jobs.steps import Night
from jobs.store import Store


def positive_values(settings: Settings) -> dict[str, float]:
    """The targets whose values say what is a click, and from which value on."""
    rated = [name for name in settings.targets if settings.sampled_negatives(name) == 0]
    return {name: settings.domains[name].positive_value for name in rated}


def like_strengths(settings: Settings) -> dict[str, float]:
    """The same targets, with what a share of likes is shrunk by."""
    return {name: settings.domains[name].like_strength for name in positive_values(settings)}


def write_likes(known: DataFrame, tables: Sequence[Table], settings: Settings, store: Store) -> dict[str, int]:
    """Write user_likes, item_likes or both of known events, whose values are as they were logged.

    Without a rated target nothing is counted; rows of an earlier try of the run go.
    """
    values = positive_values(settings)
    counts: dict[str, int] = {}
    for table in tables:
        if values:
            by = c.USER_NUM if table is t.USER_LIKES else c.ITEM_NUM
            counts |= store.write(to_likes(known, by, positive_values=values), table)
        else:
            counts[table.name] = write_rows(store.night.lake, table, [], replace={c.RUN_ID: store.night.run_id})
    return counts


def read_user_likes(night: Night, domain: str, user_nums_R: Tensor) -> Tensor:
    """num_likes and num_rated of validation users as known in training, int64 [R, 2]; 0 for those without a value."""
    where = {c.RUN_ID: night.run_id, c.PURPOSE: c.VALIDATE, c.DOMAIN: domain}
    names = [c.USER_NUM, c.NUM_LIKES, c.NUM_RATED]
    asked = pc.field(c.USER_NUM).isin(user_nums_R.tolist())
    rows = read_arrow(night.lake, t.USER_LIKES, where=where, columns=names, predicate=asked)
    users_N, likes_N, rated_N = (torch.from_numpy(rows[name].to_numpy().copy()) for name in names)
    sorted_R, order_R = user_nums_R.sort()
    likes_R2 = torch.zeros(len(user_nums_R), 2, dtype=torch.int64)
    likes_R2[order_R[torch.searchsorted(sorted_R, users_N)]] = torch.stack((likes_N, rated_N), dim=1)
    return likes_R2
