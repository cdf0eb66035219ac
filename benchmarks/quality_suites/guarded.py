"""The guard's choices on validation in, the measures of whom it chose out: models ``served``, ``guarded_transfer``.

``served`` is chosen among all models. ``guarded_transfer`` is what the rule leaves of transfer alone: the transferred
model where validation puts it a standard error above the one that never saw another domain, else that one.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.quality_suites.cells import OWN_SEGMENTS
from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.frames.evaluation.transfer import Difference, choose
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from jobs.steps import Night

SERVED, GUARDED_TRANSFER = "served", "guarded_transfer"
NORMAL_95 = 1.96

Choices = Mapping[str, Mapping[str, str]]  # model by domain and segment of users


def read_decisions(night: Night) -> dict[str, dict[str, str]]:
    """The model that the guard chose, by target domain and segment of users."""
    decisions: dict[str, dict[str, str]] = {}
    for row in read_rows(night.lake, t.TRANSFER_REPORT, where={c.RUN_ID: night.run_id}):
        if row[c.SEGMENT] in (c.ALL, *OWN_SEGMENTS):
            decisions.setdefault(row[c.DOMAIN], {})[row[c.SEGMENT]] = row["decision"]
    return decisions


def read_transfer(night: Night, settings: Settings) -> dict[str, dict[str, str]]:
    """The guard's rule for the transferred model and its control alone, by target domain and segment of users.

    A segment with too few users for a decision of its own is left out: it has its domain's.
    """
    rules = settings.evaluate
    wanted = {
        c.PURPOSE: c.VALIDATE, c.MODEL: c.TRANSFERRED, c.BASELINE: c.TARGET_ONLY, c.METRIC: rules.guard_metric,
        c.N: rules.guard_n,
    }  # fmt: skip
    chosen: dict[str, dict[str, str]] = {}
    for row in read_rows(night.lake, t.TRANSFER_REPORT, where={c.RUN_ID: night.run_id}):
        is_tested = row[c.SEGMENT] == c.ALL or row[c.NUM_USERS] >= rules.guard_min_users
        if wanted.items() <= row.items() and row[c.SEGMENT] in (c.ALL, *OWN_SEGMENTS) and is_tested:
            chosen.setdefault(row[c.DOMAIN], {})[row[c.SEGMENT]] = _choose_transfer(row)
    return chosen


def with_chosen(values: pd.DataFrame, choices: Choices, name: str) -> pd.DataFrame:
    """Add, as the model ``name``, each user's rows of the model that was chosen for users of their segment.

    A segment without a choice has its domain's. The guard chooses who makes lists: clicks have no part in it.
    """
    lists = values[~values[c.METRIC].str.startswith("click_")]
    users = values.loc[values[c.SEGMENT].isin(OWN_SEGMENTS), [c.DOMAIN, c.USER_ID, c.SEGMENT]].drop_duplicates()
    chosen = [
        choices.get(domain, {}).get(segment, choices.get(domain, {}).get(c.ALL))
        for domain, segment in zip(users[c.DOMAIN], users[c.SEGMENT], strict=True)
    ]
    by_user = users.assign(**{c.MODEL: chosen})[[c.DOMAIN, c.USER_ID, c.MODEL]]
    added = lists.merge(by_user, on=[c.DOMAIN, c.USER_ID, c.MODEL], how="inner").assign(**{c.MODEL: name})
    return pd.concat([values, added], ignore_index=True)


def _choose_transfer(row: Mapping[str, Any]) -> str:
    means = {c.TRANSFERRED: row["value"], c.TARGET_ONLY: row["baseline_value"]}
    low, high = row[c.CI_LOW], row[c.CI_HIGH]
    difference = Difference(row[c.DIFFERENCE], (high - low) / (2 * NORMAL_95), low, high)
    return choose(means, {(c.TRANSFERRED, c.TARGET_ONLY): difference})[0]
