"""Ratings and the number of a split in, every model's measures of every test user out.

All that is chosen (shrinkage, likeness, penalties, epochs, learning rates, which model) is chosen on the validation
users, from several random queries of each; test users are asked once.

T tasks, Q query ratings.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.fewshot_suite import floors
from benchmarks.fewshot_suite.features import Described, describe, to_tasks
from benchmarks.fewshot_suite.heads import Asked, HeadPlan, Trained, fit_heads
from benchmarks.fewshot_suite.item_table import ItemPlan, ItemTable, fit_items
from benchmarks.fewshot_suite.measures import RATING4, TOP5, N, measure_query, tuning_value
from benchmarks.fewshot_suite.ratings import Ratings
from benchmarks.fewshot_suite.splits import SIZES, WHOLE, Drawn, draw_sizes, draw_tasks, keep_support, split_users
from crossrec_core import columns as c

CLOSED_FORMS = ("bayes", "bayes_linear", "bayes_ridge")
BLEND = "closed_forms"  # the three above, averaged
TABLES = {TOP5: "", RATING4: RATING4}  # the published figures stand beside top5
Scorer = Callable[[Drawn], Tensor]  # -> scores of the query, [T, Q]


@dataclass(frozen=True)
class SplitPlan:
    """What is tried on validation."""

    item_shrinkages: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    factors: tuple[tuple[int, float], ...] = ((2, 20.0), (2, 60.0), (4, 60.0))
    likeness: tuple[tuple[float, float], ...] = ((3.0, 0.3), (10.0, 0.3), (10.0, 1.0), (50.0, 1.0))
    penalties: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    num_draws: int = 4  # with the whole support; as many with random sizes
    heads: HeadPlan = field(default_factory=HeadPlan)


@dataclass(frozen=True)
class Found:
    """A split's measures and what was chosen for it."""

    values: pd.DataFrame
    chosen: dict[str, Any]


def run_split(ratings: Ratings, domain: str, number: int, plan: SplitPlan) -> Found:
    """Train on 80 % of the users, tune on 10 %, ask the last 10 %."""
    started = time.perf_counter()
    split = split_users(len(ratings.user_ids), seed=number)
    generator = torch.Generator().manual_seed(number)
    draws = draw_validation(ratings, split.valid, plan.num_draws, generator)
    scorers, tried, described = fit_floors(ratings, split.train, draws, plan, seed=number)
    asked = [Asked(to_tasks(described, drawn), truth_of(ratings, drawn)) for drawn in draws]
    heads = fit_heads(described, ratings.mask_UK, split.train, asked, plan.heads, seed=number)
    scorers |= {name: to_scorer(described, trained) for name, trained in heads.items()}
    scorers[BLEND] = blend([scorers[name] for name in CLOSED_FORMS])
    tried |= {name: {"value": trained.value, **trained.how} for name, trained in heads.items()}
    test = draw_tasks(ratings.mask_UK, split.test, generator=generator)
    values = measure_all(ratings, test, scorers).assign(cut=f"{number:02d}", seed=number, **{c.DOMAIN: domain})
    return Found(values, {"split": number, "seconds": round(time.perf_counter() - started, 1), "chosen": tried})


def draw_validation(ratings: Ratings, valid: Tensor, num_draws: int, generator: torch.Generator) -> list[Drawn]:
    """Queries of validation users, half with all of their support and half with less."""
    draws = [draw_tasks(ratings.mask_UK, valid, generator=generator) for _ in range(2 * num_draws)]
    return draws[:num_draws] + [
        keep_support(drawn, draw_sizes(len(valid), generator=generator)) for drawn in draws[num_draws:]
    ]


def fit_floors(
    ratings: Ratings, train: Tensor, draws: list[Drawn], plan: SplitPlan, *, seed: int
) -> tuple[dict[str, Scorer], dict[str, Any], Described]:  # fmt: skip
    """What trains no head, each at its best on validation; and the features that its films make."""

    def fit(shrinkage: float, factors: tuple[int, float]) -> ItemTable:
        item_plan = ItemPlan(factors[0], shrinkage, factors[1])
        return fit_items(
            ratings.items_UK[train], ratings.ratings_UK[train], len(ratings.content_VC), item_plan, seed=seed
        )

    def choose(scorers: Mapping[Any, Scorer]) -> tuple[Any, float]:
        values = {key: judge_scorer(ratings, scorer, draws) for key, scorer in scorers.items()}
        best = max(values, key=lambda key: values[key])
        return best, values[best]

    means = {each: item_scorer(ratings, floors.item_means(ratings, train, each)) for each in plan.item_shrinkages}
    mean_shrinkage, mean_value = choose(means)
    tables = {each: fit(each, plan.factors[0]) for each in plan.item_shrinkages}
    shrinkage, bias_value = choose({each: item_scorer(ratings, table.score_V) for each, table in tables.items()})
    fitted = {each: fit(shrinkage, each) for each in plan.factors}
    shown = {
        each: describe(ratings, table, train, shrinkage=plan.likeness[0][0], prior=plan.likeness[0][1])
        for each, table in fitted.items()
    }
    ridges = {
        (*factors, penalty): ridge_scorer(ratings, shown[factors], fitted[factors], penalty)
        for factors, penalty in itertools.product(plan.factors, plan.penalties)
    }
    (*factors, penalty), ridge_value = choose(ridges)
    table, described = fitted[tuple(factors)], shown[tuple(factors)]
    knns = {each: knn_scorer(ratings, with_likeness(described, each), table) for each in plan.likeness}
    likeness, knn_value = choose(knns)
    described = with_likeness(described, likeness)
    scorers = {
        "item_mean": means[mean_shrinkage], "item_score": item_scorer(ratings, table.score_V),
        "item_knn": knns[likeness], "bayes_ridge": ridges[(*factors, penalty)],
    }  # fmt: skip
    tried = {
        "item_mean": {"value": mean_value, "shrinkage": mean_shrinkage},
        "item_score": {"value": bias_value, "shrinkage": shrinkage},
        "item_knn": {"value": knn_value, "likeness_shrinkage": likeness[0], "prior": likeness[1]},
        "bayes_ridge": {
            "value": ridge_value, "factors": factors[0], "factor_shrinkage": factors[1], "penalty": penalty,
        },
    }  # fmt: skip
    return scorers, tried, described


def item_scorer(ratings: Ratings, values_V: Tensor) -> Scorer:
    """The same order of films for everyone."""
    return lambda drawn: floors.of_query(values_V, ratings, drawn)


def ridge_scorer(ratings: Ratings, described: Described, table: ItemTable, penalty: float) -> Scorer:
    """The closed form with normal noise."""
    return lambda drawn: floors.ridge(described, table, ratings, drawn, penalty=penalty)


def knn_scorer(ratings: Ratings, described: Described, table: ItemTable) -> Scorer:
    """Item-kNN over residuals."""
    return lambda drawn: floors.item_knn(ratings, described, table, drawn, described.likeness)


def with_likeness(described: Described, strength: tuple[float, float]) -> Described:
    """Films are as alike as ``strength`` (shrinkage and prior) says."""
    likeness = replace(described.likeness, shrinkage=strength[0], prior=strength[1])
    return replace(described, likeness=likeness)


def to_scorer(described: Described, trained: Trained) -> Scorer:
    """A head's answer to drawn tasks."""

    def score(drawn: Drawn) -> Tensor:
        with torch.no_grad():
            return trained.head(to_tasks(described, drawn))

    return score


def blend(scorers: list[Scorer]) -> Scorer:
    """The mean of scores, each in standard deviations of its query."""

    def score(drawn: Drawn) -> Tensor:
        scores = [scorer(drawn).double() for scorer in scorers]
        return torch.stack([each / each.std(dim=1, keepdim=True).clamp(min=1e-9) for each in scores]).mean(dim=0)

    return score


def truth_of(ratings: Ratings, drawn: Drawn) -> Tensor:
    """What each user truly gave to the query, [T, Q]."""
    return ratings.ratings_UK[drawn.users_T[:, None], drawn.query_TQ]


def judge_scorer(ratings: Ratings, scorer: Scorer, draws: list[Drawn]) -> float:
    """Mean tuning value over draws."""
    return sum(tuning_value(scorer(drawn), truth_of(ratings, drawn)) for drawn in draws) / len(draws)


def measure_all(ratings: Ratings, test: Drawn, scorers: Mapping[str, Scorer]) -> pd.DataFrame:
    """table, model, user_id, segment (the support's size), metric, n and value; rows without a value are left out."""
    truth_TQ, users = truth_of(ratings, test), [ratings.user_ids[row] for row in test.users_T.tolist()]
    frames = []
    for size in SIZES:
        drawn = keep_support(test, torch.full_like(test.users_T, size))
        for (name, scorer), (kind, table) in itertools.product(scorers.items(), TABLES.items()):
            for metric, value_T in measure_query(scorer(drawn), truth_TQ, kind).items():
                columns = {"table": table, c.MODEL: name, c.SEGMENT: segment_of(size), c.METRIC: metric, c.N: N}
                frames.append(pd.DataFrame({c.USER_ID: users, "value": value_T.numpy()}).assign(**columns))
    return pd.concat(frames, ignore_index=True).dropna(subset=["value"])


def segment_of(size: int) -> str:
    """``k=3``, or ``all``."""
    return "all" if size == WHOLE else f"k={size}"
