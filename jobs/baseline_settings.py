"""The settings of the baselines in, the sets of options to try for each of them out."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from crossrec_core.settings import Settings

POPULARITY, DECAYED, ITEM_KNN, MARKOV, ALS = "popularity", "decayed_popularity", "item_knn", "markov", "als"
KINDS = {
    POPULARITY: "item_scores", DECAYED: "item_scores", ITEM_KNN: "transitions", MARKOV: "transitions", ALS: "factors",
}  # fmt: skip
# Options that change only how a user is scored: sets that differ in nothing else share one fit
AT_SCORING = ("history_decay", "popularity_share")

Options = Mapping[str, Any]


def grid(model: str, settings: Settings) -> list[dict[str, Any]]:
    """Every set of options to try for a model; the first is taken where nothing can be validated."""
    values = _values(model, settings)
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def at_fit(options: Options) -> dict[str, Any]:
    """The options that the fit depends on."""
    return {name: value for name, value in options.items() if name not in AT_SCORING}


def _values(model: str, settings: Settings) -> dict[str, list[Any]]:
    rules = settings.baselines
    across, one = list(rules.cross_domain), [0.0]
    shared: dict[str, list[Any]] = {"max_history": [rules.max_history], "max_neighbours": [rules.max_neighbours]}
    if model == DECAYED:
        return {"half_life_days": list(rules.half_life_days)}
    if model == ITEM_KNN:
        return shared | {
            "shrink": list(rules.knn_shrink),
            "cross_domain": across if _shares_users(settings, list(settings.domains)) else one,
            "history_decay": list(rules.history_decay),
        }
    if model == MARKOV:
        return shared | {
            "window": [rules.window], "half_life_days": [rules.half_life_days[0]],
            "pair_decay": list(rules.pair_decay), "backward": list(rules.backward), "alpha": list(rules.alpha),
            "cross_domain": across if _shares_users(settings, _timed(settings)) else one,
            "history_decay": list(rules.history_decay), "popularity_share": list(rules.popularity_share),
        }  # fmt: skip
    if model == ALS:
        return {
            "rank": [rules.als_rank], "iterations": [rules.als_iterations], "alpha": [rules.als_alpha],
            "regularisation": list(rules.als_regularisation),
        }  # fmt: skip
    return {}


def _timed(settings: Settings) -> list[str]:
    """Domains whose events share a clock: those of order-only logs have no neighbours in time elsewhere."""
    return [name for name, domain in settings.domains.items() if domain.time_unit != "order"]


def _shares_users(settings: Settings, domains: list[str]) -> bool:
    """Whether a target has users in common with another of the domains, by their user spaces."""
    spaces = [settings.domains[name].user_space for name in domains]
    return any(spaces.count(settings.domains[name].user_space) > 1 for name in domains if name in settings.targets)
