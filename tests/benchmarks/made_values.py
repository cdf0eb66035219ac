"""Rows of users' measures for the tests of the quality suites."""

import pandas as pd

COLUMNS = ["table", "cut", "seed", "model", "domain", "user_id", "segment", "metric", "n", "value"]


def make_values(
    *rows: tuple[str, str, str, str, float], metric: str = "ndcg", seed: int = 1, cut: str = ""
) -> pd.DataFrame:
    """(model, domain, user_id, segment, value) to a frame."""
    made = [("", cut, seed, *row[:4], metric, 10, row[4]) for row in rows]
    return pd.DataFrame(made, columns=COLUMNS)
