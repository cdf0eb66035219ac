"""RePlay's metrics under the names of this benchmark; OfflineMetrics is its way to share work between them."""

from collections.abc import Mapping, Sequence

from replay.metrics import MAP, MRR, NDCG, HitRate, OfflineMetrics, Precision, Recall

COLUMNS = {"query_column": "user_num", "item_column": "item_num", "rating_column": "score"}
NAMES = {"Recall": "recall", "Precision": "precision", "HitRate": "hr", "NDCG": "ndcg", "MAP": "map", "MRR": "mrr"}


def make_metrics(n: Sequence[int]) -> OfflineMetrics:
    """All metrics at all lengths."""
    metrics = [metric(list(n)) for metric in (Recall, Precision, HitRate, NDCG, MAP, MRR)]
    return OfflineMetrics(metrics, **COLUMNS)


def named(values: Mapping[str, float]) -> dict[str, float]:
    """``NDCG@10`` -> ``ndcg@10``, ``HitRate@10`` -> ``hr@10``."""
    pairs = ((name.partition("@"), value) for name, value in values.items())
    return {f"{NAMES[metric]}@{n}": value for (metric, _, n), value in pairs}
