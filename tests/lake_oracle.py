"""A lake's tables in, every row of its ``metrics`` recomputed in plain Python out.

On a lake of your own: python -m tests.lake_oracle --lake lake/mine --run-id 20260131T020000
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from math import isclose, isnan
from statistics import fmean
from typing import Annotated, Any

import typer

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_arrow
from tests import oracles

Key = tuple[str, str, str, str, int]  # model, domain, segment, metric, n
Values = dict[Key, tuple[float, int]]  # value and num_users
Lists = dict[str, list[str]]  # by user, best first
KeepsUser = Callable[[str], bool]
USERS = {
    "all": ("warm", "cold_in_domain", "new"), "warm": ("warm",), "cold_in_domain": ("cold_in_domain",), "new": ("new",),
    "head_items": ("warm", "cold_in_domain", "new"), "tail_items": ("warm", "cold_in_domain", "new"),
    "known_items": ("warm", "cold_in_domain", "new"), "known_items_warm": ("warm",),
    "known_items_cold_in_domain": ("cold_in_domain",), "cold_items": ("warm", "cold_in_domain", "new"),
}  # fmt: skip
DIVERSITY_PLACES = 10


def expected_metrics(lake: Lake, run_id: str, *, lists: Sequence[int], in_diversity: KeepsUser) -> Values:
    """Every (model, domain, segment, metric, n) of a run's backtest. ``in_diversity``: users drawn for diversity."""
    values: Values = {}
    where = {c.RUN_ID: run_id, c.PURPOSE: c.BACKTEST}
    truth = _by_domain(_rows(lake, t.TRUTH, where))
    popularity = _by_domain(_rows(lake, t.ITEM_POPULARITY, where))
    known_users = {domain: len(rows) for domain, rows in _by_domain(_rows(lake, t.HISTORIES, where)).items()}
    names = _by_domain(_rows(lake, t.ITEM_FEATURES, {c.RUN_ID: run_id}, [c.DOMAIN, c.ITEM_NUM, c.ITEM_ID]))
    vectors = _vectors(lake, run_id)
    for model, domain, listed in _all_lists(lake, run_id):
        id_of = {row[c.ITEM_NUM]: row[c.ITEM_ID] for row in names[domain]}
        num_users = {id_of[row[c.ITEM_NUM]]: row[c.NUM_USERS] for row in popularity[domain]}
        vector_of = {id_of[num]: vectors[num] for num in id_of if num in vectors}
        known = {user: items for user, items in listed.items() if user != c.NEW_USER_ID}
        measured = _ranking(truth.get(domain, []), listed, lists)
        measured |= _catalogue(known, num_users, known_users[domain], lists)
        measured |= _diversity([items for user, items in known.items() if in_diversity(user)], vector_of)
        values |= {(model, domain, *key): value for key, value in measured.items()}
    pairs = _all_pairs(lake, run_id)
    for (purpose, model, domain), own in pairs.items():
        if purpose == c.BACKTEST:
            clicks = _clicks(own, pairs.get((c.VALIDATE, model, domain), []))
            num_users_paired = len({user for user, _, _ in own})
            for metric, value in clicks.items():
                values[model, domain, "all", f"click_{metric}", 0] = value, num_users_paired
    return values


def differences(lake: Lake, run_id: str, expected: Values) -> list[str]:
    """What differs between ``metrics`` and the expected values by more than 1e-9, one line each."""
    rows = _rows(lake, t.METRICS, {c.RUN_ID: run_id})
    seen = {(r[c.MODEL], r[c.DOMAIN], r[c.SEGMENT], r[c.METRIC], r[c.N]): (r["value"], r[c.NUM_USERS]) for r in rows}
    found = [f"{key}: only in one of metrics and oracle" for key in sorted(seen.keys() ^ expected.keys())]
    for key in sorted(seen.keys() & expected.keys()):
        (value, num_users), (true_value, true_users) = seen[key], expected[key]
        is_same = isnan(true_value) if value is None else isclose(value, true_value, rel_tol=1e-9, abs_tol=1e-9)
        if not is_same or num_users != true_users:
            found.append(f"{key}: metrics has {value!r} of {num_users}, the oracle {true_value!r} of {true_users}")
    return found


def _ranking(truth: Sequence[dict[str, Any]], listed: Lists, lists: Sequence[int]) -> dict[Any, tuple[float, int]]:
    kinds: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in truth:
        for kind in _kinds_of(row):
            kinds[kind][row[c.USER_ID], row[c.SEGMENT]].add(row[c.ITEM_ID])
    measured = {}
    for kind, users in kinds.items():
        for n in lists:
            values = {
                (user, segment): oracles.ranking_values(
                    listed.get(c.NEW_USER_ID if segment == c.NEW else user, []), items, n
                )
                for (user, segment), items in users.items()
            }
            for segment, members in USERS.items():
                own = [found for (_, of), found in values.items() if of in members]
                if own and kind == _kind_of_segment(segment):
                    for metric in own[0]:
                        measured[segment, metric, n] = fmean(found[metric] for found in own), len(own)
    return measured


def _kinds_of(row: dict[str, Any]) -> list[str]:
    known = ["known_items", "head_items" if row[c.IS_HEAD] else "tail_items"]
    return ["all", *(known if row[c.IS_KNOWN_ITEM] else ["cold_items"])]


def _kind_of_segment(segment: str) -> str:
    kinds = ("known_items", "head_items", "tail_items", "cold_items")
    return next((kind for kind in kinds if segment.startswith(kind)), "all")


def _catalogue(
    known: Lists, num_users: dict[str, int], known_users: int, lists: Sequence[int]
) -> dict[Any, tuple[float, int]]:
    measured = {}
    for n in lists if known else ():
        novelties = [oracles.novelty(items, num_users, known_users, n) for items in known.values()]
        measured["all", "novelty", n] = fmean(novelties), len(known)
        measured["all", "coverage", n] = oracles.coverage(list(known.values()), num_users, n), len(known)
    return measured


def _diversity(listed: Sequence[Sequence[str]], vectors: dict[str, list[float]]) -> dict[Any, tuple[float, int]]:
    found = [oracles.diversity(items, vectors, DIVERSITY_PLACES) for items in listed] if vectors else []
    values = [value for value in found if value is not None]
    return {("all", "diversity", DIVERSITY_PLACES): (fmean(values), len(values))} if values else {}


def _clicks(pairs: Sequence[tuple[str, int, float]], validation: Sequence[tuple[str, int, float]]) -> dict[str, float]:
    labels, probabilities = [label for _, label, _ in pairs], [probability for _, _, probability in pairs]
    tuned_on = [label for _, label, _ in validation], [probability for _, _, probability in validation]
    threshold = oracles.best_f1_threshold(*tuned_on) if validation else 0.5
    rate = sum(labels) / len(labels)
    return {
        "auc": oracles.auc(labels, probabilities),
        "log_loss": oracles.log_loss(labels, probabilities),
        "brier": oracles.brier(labels, probabilities),
        "ece": oracles.calibration_error(labels, probabilities),
        **oracles.threshold_values(labels, probabilities, threshold),
        "base_rate": rate,
        "best_constant_log_loss": oracles.log_loss(labels, [rate] * len(labels)),
        "best_constant_brier": oracles.brier(labels, [rate] * len(labels)),
        "best_constant_accuracy": max(rate, 1 - rate),
    }


def _all_lists(lake: Lake, run_id: str) -> Iterator[tuple[str, str, Lists]]:
    """The backtest lists of one model and domain after another."""
    where = {c.RUN_ID: run_id, c.PURPOSE: c.BACKTEST}
    models = {(row[c.MODEL], row[c.DOMAIN]) for row in _rows(lake, t.RECOMMENDATIONS, where, [c.MODEL, c.DOMAIN])}
    for model, domain in sorted(models):
        own = {**where, c.MODEL: model, c.DOMAIN: domain}
        rows = _rows(lake, t.RECOMMENDATIONS, own, [c.USER_ID, c.RANK, c.ITEM_ID])
        lists: Lists = defaultdict(list)
        for row in sorted(rows, key=lambda row: row[c.RANK]):
            lists[row[c.USER_ID]].append(row[c.ITEM_ID])
        yield model, domain, dict(lists)


def _all_pairs(lake: Lake, run_id: str) -> dict[tuple[str, str, str], list[tuple[str, int, float]]]:
    pairs = defaultdict(list)
    for row in _rows(lake, t.PAIR_PROBABILITIES, {c.RUN_ID: run_id}):
        for domain in (row[c.DOMAIN], "all"):
            pairs[row[c.PURPOSE], row[c.MODEL], domain].append((row[c.USER_ID], row[c.LABEL], row[c.PROBABILITY]))
    return pairs


def _vectors(lake: Lake, run_id: str) -> dict[int, list[float]]:
    rows = _rows(lake, t.ITEM_VECTORS, {c.RUN_ID: run_id})
    first = min((row[c.ENCODER] for row in rows), default="")
    return {row[c.ITEM_NUM]: row[c.VECTOR] for row in rows if row[c.ENCODER] == first}


def _rows(lake: Lake, table: t.Table, where: dict[str, str], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    return read_arrow(lake, table, where=where, columns=list(names) or None).to_pylist()


def _by_domain(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[c.DOMAIN]].append(row)
    return groups


def sampled_users(users: Collection[str], *, seed: int) -> set[str]:
    """The users that the job draws for diversity. The draw alone is the job's own: Spark's hash of the user."""
    from pyspark.sql import SparkSession

    from crossrec_core.frames.evaluation.catalogue_metrics import keep_sampled_users

    spark = SparkSession.builder.master("local[1]").getOrCreate()
    frame = spark.createDataFrame([(user,) for user in users], f"{c.USER_ID} string")
    return {row[c.USER_ID] for row in keep_sampled_users(frame, num_users=len(users), seed=seed).collect()}


def main(
    lake: Annotated[str, typer.Option(help="The lake.")],
    run_id: Annotated[str, typer.Option(help="A run that has been evaluated.")],
    lists: Annotated[str, typer.Option(help="evaluate.n of the run.")] = "5,10,20,50",
    seed: Annotated[int, typer.Option(help="evaluate.seed of the run.")] = 23,
) -> None:
    """Compare a run's metrics with plain Python; exit 1 where they differ."""
    where = {c.RUN_ID: run_id, c.PURPOSE: c.BACKTEST}
    users = {row[c.USER_ID] for row in _rows(Lake(lake), t.RECOMMENDATIONS, where, [c.USER_ID])}
    sample = sampled_users(users, seed=seed)
    expected = expected_metrics(
        Lake(lake), run_id, lists=[int(n) for n in lists.split(",")], in_diversity=sample.__contains__
    )
    found = differences(Lake(lake), run_id, expected)
    print("\n".join(found[:50]))
    print(f"{len(expected)} values recomputed, {len(found)} differ by more than 1e-9")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
