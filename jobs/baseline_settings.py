"""The settings of the baselines in, the sets of options to try for each of them out."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from crossrec_core.settings import Settings

POPULARITY, DECAYED, ITEM_KNN, MARKOV, ALS = "popularity", "decayed_popularity", "item_knn", "markov", "als"
EASE, SLIST, TEXT_KNN, IALS, CMF, EMCDR = "ease", "slist", "text_knn", "ials", "cmf", "emcdr"
KINDS = {
    POPULARITY: "item_scores", DECAYED: "item_scores", ITEM_KNN: "transitions", MARKOV: "transitions", ALS: "factors",
    EASE: "transitions", SLIST: "transitions", TEXT_KNN: "text_vectors", IALS: "factors", CMF: "factors",
    EMCDR: "mapped_factors",
}  # fmt: skip
PAIRED = (ITEM_KNN, MARKOV)  # made from pair sums in Spark
DIRECT = (EASE, SLIST, TEXT_KNN, IALS, CMF, EMCDR)  # one fit per target, straight into its artifact: no rows
# Options that change only how a user is scored: sets that differ in nothing else share one fit
AT_SCORING = ("history_decay", "history_half_life_days", "popularity_share")

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
    fading: dict[str, list[Any]] = {
        "history_decay": list(rules.history_decay),
        "history_half_life_days": list(rules.history_half_life_days),
    }
    if model == DECAYED:
        return {"half_life_days": list(rules.half_life_days)}
    if model == ITEM_KNN:
        return shared | {
            "shrink": list(rules.knn_shrink),
            "cross_domain": across if _shares_users(settings, list(settings.domains)) else one,
            **fading,
        }
    if model == MARKOV:
        return shared | {
            "window": [rules.window], "half_life_days": [rules.half_life_days[0]],
            "pair_decay": list(rules.pair_decay), "backward": list(rules.backward), "alpha": list(rules.alpha),
            "cross_domain": across if _shares_users(settings, _timed(settings)) else one,
            **fading, "popularity_share": list(rules.popularity_share),
        }  # fmt: skip
    if model in (EASE, SLIST):
        return _item_item_values(model, settings) | fading
    if model == TEXT_KNN:
        return {"history_decay": fading["history_decay"]}
    if model in (ALS, IALS, CMF, EMCDR):
        return _factor_values(model, settings)
    return {}


def _item_item_values(model: str, settings: Settings) -> dict[str, list[Any]]:
    rules = settings.baselines
    shared: dict[str, list[Any]] = {"max_items": [rules.dense_items], "max_neighbours": [rules.max_neighbours]}
    if model == EASE:
        return shared | {"regularisation": list(rules.ease_regularisation)}
    return shared | {
        "regularisation": list(rules.slist_regularisation), "decay": list(rules.slist_decay),
        "half_life_days": list(rules.slist_half_life_days), "whole_share": list(rules.slist_whole_share),
    }  # fmt: skip


def _factor_values(model: str, settings: Settings) -> dict[str, list[Any]]:
    rules = settings.baselines
    values: dict[str, list[Any]] = {
        "rank": [rules.als_rank], "iterations": [rules.als_iterations], "alpha": list(rules.als_alpha),
        "regularisation": list(rules.als_regularisation),
    }  # fmt: skip
    if model == EMCDR:
        return values | {"map_regularisation": list(rules.emcdr_regularisation)}
    if model == CMF:
        return values | {"source_weight": list(rules.cmf_source_weight)}
    return values | ({"source_weight": [0.0]} if model == IALS else {})


def _timed(settings: Settings) -> list[str]:
    """Domains whose events share a clock: those of order-only logs have no neighbours in time elsewhere."""
    return [name for name, domain in settings.domains.items() if domain.time_unit != "order"]


def _shares_users(settings: Settings, domains: list[str]) -> bool:
    """Whether a target has users in common with another of the domains, by their user spaces."""
    spaces = [settings.domains[name].user_space for name in domains]
    return any(spaces.count(settings.domains[name].user_space) > 1 for name in domains if name in settings.targets)
