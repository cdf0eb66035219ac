"""A search that is not exact and a sample of users in, its recall against the exact one out: a row and a line each."""

from collections.abc import Sequence

from pyspark.sql import DataFrame

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.frames.lists.recommend import recommend
from crossrec_core.frames.lists.search_recall import COMPARED, sample_users, search_recall
from crossrec_core.settings import Settings
from crossrec_core.tensors.retrieval.search import EXACT, Search
from crossrec_core.tensors.scoring.scorer import LoadModels, LoadRecall
from jobs.steps import Night


def write_search_report(
    users: DataFrame, load: LoadModels, search: Search, settings: Settings, night: Night, *,
    purpose: str, models: Sequence[str], domains: dict[int, str],
) -> int:  # fmt: skip
    """Measure what the search of this purpose lost, write it and print it; returns the rows.

    ``models`` are the names by model_index. An exact search has no rows.
    """
    rows = []
    if search.kind != EXACT:
        sample = sample_users(users, size=settings.score.recall_users, seed=settings.evaluate.seed)
        compared = recommend(
            sample, LoadRecall(load, search), batch_users=settings.score.batch_users, schema=COMPARED
        )  # fmt: skip
        rows = [
            {
                c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: models[row[c.MODEL_INDEX]],
                c.DOMAIN: domains[row[c.DOMAIN_NUM]], "search": search.kind, c.N: search.n,
                "recall": row["recall"], "worst_recall": row["worst_recall"], c.NUM_USERS: row[c.NUM_USERS],
            }
            for row in search_recall(compared).collect()
        ]  # fmt: skip
    for row in sorted(rows, key=lambda row: (row[c.MODEL], row[c.DOMAIN])):
        print(
            f"{row['search']} search, {row[c.MODEL]} on {row[c.DOMAIN]}: recall@{row[c.N]} of the exact lists "
            f"{row['recall']:.5f}, lowest {row['worst_recall']:.3f} ({row[c.NUM_USERS]:,} users)",
            flush=True,
        )  # fmt: skip
    return write_rows(night.lake, t.SEARCH_REPORT, rows, replace={c.RUN_ID: night.run_id, c.PURPOSE: purpose})
