"""Known events -> transitions, item scores, factors, models, trials, and the artifacts that scoring loads."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files, write_rows
from crossrec_core.errors import ConfigError
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from jobs.baseline_fits import fit, pair_sums_of, to_row
from jobs.baseline_settings import DECAYED, DIRECT, KINDS, MARKOV, grid
from jobs.baseline_tuning import Tuned, tune
from jobs.ground import find_purposes, read_held_out
from jobs.known import Known, known_for
from jobs.steps import Night, step_command


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Tune the baselines at validate; fit them there and, with the options found, at backtest."""
    models = _in_order(settings.baselines.models)
    tuned: dict[str, Tuned] = {}
    rows: list[dict[str, Any]] = []
    for purpose in [name for name in find_purposes(night.lake, night.run_id) if name != c.SERVE]:
        with known_for(settings, night, spark, purpose) as known:
            for model in models:
                if purpose == c.VALIDATE:
                    fitted, tuned[model] = _tune_and_fit(known, model, tuned)
                else:
                    fitted = _refit(known, model, tuned.get(model))
                rows += fitted
    return _write_results(night, rows, [row for found in tuned.values() for row in found.trials], models)


def fit_for_purpose(
    settings: Settings, night: Night, spark: SparkSession, *,
    purpose: str, model: str, domain: str, tuned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit one baseline for one purpose and domain; returns its row for the models table.

    Writes the purpose's candidates, the model's rows (those of other domains stay) and the artifact. ``tuned`` are the
    settings that the models table holds for it; None reads them there, from backtest or validate, or else takes the
    first of each list.
    """
    found = _read_tuned(night, model, domain)
    options = dict(tuned) if tuned else json.loads(found["settings"]) if found else grid(model, settings)[0]
    ndcg = {domain: found["valid_ndcg"]} if found and found["valid_ndcg"] is not None else {}
    with known_for(settings, night, spark, purpose) as known, pair_sums_of(known, model, [options]) as sums:
        return fit(known, model, {domain: options}, ndcg, sums)[0]


def _tune_and_fit(known: Known, model: str, tuned: Mapping[str, Tuned]) -> tuple[list[dict[str, Any]], Tuned]:
    """Tune a model and fit the best; markov mixes in decayed popularity with the half-life found for the domain."""
    tried = grid(model, known.settings)
    half_lives = tuned[DECAYED].options if model == MARKOV and DECAYED in tuned else {}
    given = {domain: {"half_life_days": options["half_life_days"]} for domain, options in half_lives.items()}
    held_out = read_held_out(known.settings, known.store.night, known.candidates.domains)
    with pair_sums_of(known, model, tried) as sums:
        found = tune(known, model, tried, held_out, given, sums)
        if model in DIRECT:
            return [
                to_row(known, model, domain, options, found.ndcg.get(domain), found.seconds[domain])
                for domain, options in found.options.items()
            ], found
        return fit(known, model, found.options, found.ndcg, sums, is_written=found.is_written), found


def _refit(known: Known, model: str, found: Tuned | None) -> list[dict[str, Any]]:
    """Fit a model with the options found at validate; the first of each list where nothing was validated."""
    first = grid(model, known.settings)[0]
    options = {domain: found.options.get(domain, first) if found else first for domain in known.targets}
    with pair_sums_of(known, model, list(options.values())) as sums:
        return fit(known, model, options, found.ndcg if found else {}, sums)


def _in_order(models: list[str]) -> list[str]:
    """The models as listed, decayed popularity before the one that mixes it in.

    Raises:
        ConfigError: a model of another name.
    """
    unknown = [model for model in models if model not in KINDS]
    if unknown:
        raise ConfigError(f"baselines.models: no model {unknown[0]!r}; expected some of {', '.join(KINDS)}")
    return sorted(models, key=lambda model: model == MARKOV) if DECAYED in models else list(models)


def _read_tuned(night: Night, model: str, domain: str) -> dict[str, Any] | None:
    """The models row that the run holds for a model and domain: of backtest, else of validate."""
    for purpose in (c.BACKTEST, c.VALIDATE):
        where = {c.RUN_ID: night.run_id, c.PURPOSE: purpose, c.MODEL: model}
        for row in read_rows(night.lake, t.MODELS, where=where):
            if row[c.DOMAIN] == domain:
                return row
    return None


def _write_results(
    night: Night, rows: list[dict[str, Any]], trials: list[dict[str, Any]], models: list[str]
) -> dict[str, int]:
    """Write models and trials; count what the run holds now."""
    if rows:
        purposes = sorted({row[c.PURPOSE] for row in rows})
        replaced = {c.RUN_ID: night.run_id, c.PURPOSE: purposes, c.MODEL: models}
        write_rows(night.lake, t.MODELS, rows, replace=replaced)
    write_rows(night.lake, t.TRIALS, trials, replace={c.RUN_ID: night.run_id})
    counts = {"models": len(rows), "trials": len(trials)}
    for table in (t.TRANSITIONS, t.ITEM_SCORES, t.ITEM_FACTORS):
        files = live_files(night.lake, table, where={c.RUN_ID: night.run_id})
        counts[table.name] = sum(file.num_rows for file in files)
    return counts


main = step_command("fit_baselines", run)

if __name__ == "__main__":
    typer.run(main)
