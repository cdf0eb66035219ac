"""Interactions and catalogues -> numbers, splits, statistics, histories, sequences, features, truth, labelled pairs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from crossrec_core.errors import InputError
from crossrec_core.frames.items.item_features import to_item_features
from crossrec_core.frames.items.pca import fit_components, to_component_measures
from crossrec_core.frames.logs.k_core import mark_core
from crossrec_core.frames.prepared.normalise import (
    STATISTICS_SCHEMA,
    fit_statistics,
    to_numeric_measures,
    to_numerics,
    to_value_measures,
    with_normalised,
)
from crossrec_core.frames.prepared.pairs import to_labelled_pairs, to_rated_pairs
from crossrec_core.frames.prepared.popularity import to_popularity, with_listed_items
from crossrec_core.frames.prepared.profiles import to_user_profiles
from crossrec_core.frames.prepared.sequences import to_histories
from crossrec_core.frames.prepared.splits import AFTER_TEST, to_known_events
from crossrec_core.frames.prepared.truth import keep_sampled_users, to_truth, with_outside_ids
from crossrec_core.settings import Settings
from jobs.judged_logs import is_awaited
from jobs.likes import positive_values, write_likes
from jobs.prepare_events import (
    complete,
    number_events,
    number_items,
    read_items,
    split,
    value_domains,
    write_ids,
)
from jobs.prepare_sequences import order_only_domains, prepared_purposes, write_known_sequences, write_validation
from jobs.steps import Night, step_command
from jobs.store import Store

OWN_CHECKS = (AFTER_TEST, *(f"rows_{split}" for split in (c.TRAIN, c.OUT_OF_CORE, c.VALID, c.TEST)))


def run(settings: Settings, night: Night, spark: SparkSession) -> dict[str, int]:
    """Number, split and normalise the interactions, then write what the models and the evaluation read."""
    store = Store(spark, night)
    items = read_items(settings, spark).cache()
    try:
        interactions = complete(settings, store)
        counts = write_ids(interactions, items, settings, store)
        numbered = number_events(interactions, settings, store, items=store.read_all(t.ITEM_IDS).drop(c.RUN_ID))
        events = split(numbered, settings).cache()
        try:
            rows = count_splits(events)
            check_targets(rows, settings)
            counts |= write_events(events.where(F.col(c.SPLIT) != AFTER_TEST), items, settings, store)
        finally:
            events.unpersist()
        counts |= write_features(items, settings, store)
    finally:
        items.unpersist()
    counts |= write_known(settings, store)
    counts |= write_held_out(settings, store)
    write_quality(rows, store)
    return counts


def count_splits(events: DataFrame) -> list[Row]:
    """Events per domain and split, with the latest event's order."""
    counted = events.groupBy(c.DOMAIN, c.SPLIT).agg(
        F.count(F.lit(1)).alias(c.NUM_EVENTS), F.max(c.EVENT_TIME).alias(c.EVENT_TIME)
    )
    return counted.orderBy(c.DOMAIN, c.SPLIT).collect()


def check_targets(rows: list[Row], settings: Settings) -> None:
    """Check that every target that has begun can be tested.

    Raises:
        InputError: one that has no test event although the settings ask for a test.
    """
    for target in settings.targets if settings.split.test_days > 0 else []:
        own = {row[c.SPLIT]: row for row in rows if row[c.DOMAIN] == target}
        if c.TEST not in own and (own or not is_awaited(settings.domains[target], settings)):
            latest = max((row[c.EVENT_TIME] for row in own.values() if row[c.EVENT_TIME]), default="unknown")
            parts = ", ".join(f"{row[c.NUM_EVENTS]} {name}" for name, row in own.items()) or "no"
            raise InputError(
                f"domains.{target}: 0 test events seen ({parts} events, the latest of {latest}); expected at least one "
                f"with split.protocol = {settings.split.protocol!r}, split.test_days = {settings.split.test_days:g}; "
                "change split.cut, split.test_days or split.per_domain, or take the domain out of roles.targets"
            )


def write_events(events: DataFrame, items: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """k-core, likes, statistics of training rows, and the events with normalised values."""
    rules = settings.normalise
    if rules.min_user_events > 0 or rules.min_item_events > 0:
        events = mark_core(
            events, min_user_events=rules.min_user_events, min_item_events=rules.min_item_events,
            max_rounds=rules.core_rounds,
        )  # fmt: skip
    # Before values are normalised: a like is a value as it was logged
    known = to_known_events(events, prepared_purposes(settings))
    counts = write_likes(known, (t.USER_LIKES, t.ITEM_LIKES), settings, store)
    valued = value_domains(settings)
    values = to_value_measures(events, domains=valued)
    counts |= write_statistics(values, to_training_measures(events, items, settings, store), settings, store)
    names = [name for name in t.SPLIT_INTERACTIONS.column_names if name != c.RUN_ID]
    if valued:
        others = events.where(~F.col(c.DOMAIN).isin(*valued)).select(*names)
        events = others.unionByName(with_normalised(values, store.read(t.FEATURE_STATISTICS)).select(*names))
    return counts | store.write(events, t.SPLIT_INTERACTIONS)


def to_training_measures(events: DataFrame, items: DataFrame, settings: Settings, store: Store) -> DataFrame:
    """Numeric attributes of the items that training events touch."""
    touched = events.where(F.col(c.SPLIT) == c.TRAIN).select(c.DOMAIN, c.ITEM_NUM).distinct()
    measures = to_numeric_measures(number_items(items, settings, store), columns=numeric_columns(settings))
    return measures.join(touched, on=[c.DOMAIN, c.ITEM_NUM], how="left_semi")


def write_statistics(values: DataFrame, numerics: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """Fit what normalises event values and item numerics, on training rows only."""
    rules = settings.normalise
    if not value_domains(settings) and not numeric_columns(settings):
        return store.write(store.spark.createDataFrame([], STATISTICS_SCHEMA), t.FEATURE_STATISTICS)
    names = (c.DOMAIN, "table_name", "column_name", c.VALUE)
    training = values.where(F.col(c.SPLIT) == c.TRAIN).select(*names).unionByName(numerics.select(*names))
    statistics = fit_statistics(
        training, fill=rules.fill, outliers=rules.outliers, low_quantile=rules.low_quantile,
        high_quantile=rules.high_quantile, iqr_factor=rules.iqr_factor, scaling=rules.scaling,
    )  # fmt: skip
    if rules.pca_dimensions > 0:
        components = fit_components(with_normalised(numerics, statistics), dimensions=rules.pca_dimensions)
        statistics = statistics.unionByName(components)
    return store.write(statistics, t.FEATURE_STATISTICS)


def write_features(items: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """Attributes of listed and seen items; interests of users."""
    events = store.read(t.SPLIT_INTERACTIONS)
    listed = number_items(items, settings, store)
    if numeric_columns(settings):
        statistics = store.read(t.FEATURE_STATISTICS)
        measures = with_normalised(to_numeric_measures(listed, columns=numeric_columns(settings)), statistics)
        if settings.normalise.pca_dimensions > 0:
            names = (c.DOMAIN, c.ITEM_NUM, "table_name", "column_name", c.VALUE)
            components = to_component_measures(measures, statistics)
            measures = measures.select(*names).unionByName(components.select(*names))
        listed = listed.drop(c.NUMERICS).join(to_numerics(measures), on=[c.DOMAIN, c.ITEM_NUM], how="left")
    counts = store.write(to_item_features(listed, events, store.read_all(t.ITEM_IDS)), t.ITEM_FEATURES)
    if not any(domain.catalogue.categories for domain in settings.domains.values()):
        events = events.limit(0)  # nothing to be interested in: the latest event of everyone need not be found
    profiles = to_user_profiles(
        events, store.read(t.ITEM_FEATURES), order_only=order_only_domains(settings),
        half_life_days=settings.sequences.interest_half_life_days,
    )  # fmt: skip
    return counts | store.write(profiles, t.USER_PROFILES)


def write_known(settings: Settings, store: Store) -> dict[str, int]:
    """What each purpose may know: histories, sequences and candidates."""
    purposes = prepared_purposes(settings)
    events = store.read(t.SPLIT_INTERACTIONS)
    popularity = to_popularity(
        to_known_events(events, purposes), head_share=settings.sequences.head_share,
        half_life_days=settings.score.recency_half_life_days, trend_half_lives_days=settings.blend.half_lives_days,
    )  # fmt: skip
    if settings.score.candidates == "listed":
        popularity = with_listed_items(
            popularity, store.read(t.ITEM_FEATURES), purposes=purposes, num_trends=len(settings.blend.half_lives_days)
        )
    counts = store.write(to_histories(to_known_events(events, purposes, also=[c.OUT_OF_CORE])), t.HISTORIES)
    counts |= write_known_sequences(settings, store)
    return counts | store.write(popularity, t.ITEM_POPULARITY)


def write_held_out(settings: Settings, store: Store) -> dict[str, int]:
    """Truth, labelled pairs, and the sequences that early stopping looks at."""
    held_out = F.col(c.PURPOSE).isin(*c.TRUTH_SPLIT)
    histories = store.read(t.HISTORIES).where(held_out)
    popularity = store.read(t.ITEM_POPULARITY).where(held_out & F.col(c.DOMAIN).isin(*settings.targets))
    is_by_time = settings.split.protocol == "time"
    held = to_truth(  # read three times while users are drawn
        store.read(t.SPLIT_INTERACTIONS), histories, popularity, targets=settings.targets,
        new_items_only=[name for name in settings.targets if is_by_time and settings.domains[name].exclude_seen],
    ).cache()  # fmt: skip
    # What is chosen on validation is chosen on these users; the test window keeps everyone
    is_validated = F.col(c.PURPOSE) == c.VALIDATE
    sampled = keep_sampled_users(held.where(is_validated), max_users=settings.split.max_judged_users)
    truth = held.where(~is_validated).unionByName(sampled).cache()
    try:
        user_ids, item_ids = store.read_all(t.USER_IDS), store.read_all(t.ITEM_IDS)
        named = with_outside_ids(truth, user_ids, item_ids)
        counts = store.write(named, t.TRUTH)
        rated = positive_values(settings)
        pairs = to_labelled_pairs(
            truth.where(~F.col(c.DOMAIN).isin(*rated)) if rated else truth, histories, popularity,
            negatives_per_positive=settings.split.negatives_per_positive, seed=settings.split.seed,
        )  # fmt: skip
        if rated:
            own = to_rated_pairs(named, store.read(t.INTERACTIONS), positive_values=rated)
            pairs = pairs.unionByName(own)
        counts |= store.write(with_outside_ids(pairs, user_ids, item_ids), t.LABELLED_PAIRS)
        return counts | write_validation(truth, settings, store)
    finally:
        truth.unpersist()
        held.unpersist()


def write_quality(rows: list[Row], store: Store) -> None:
    """Rows per split, rows that left, beside what clean wrote."""
    after = [row for row in rows if row[c.SPLIT] == AFTER_TEST]
    checks = {(row[c.DOMAIN], AFTER_TEST): row[c.NUM_EVENTS] for row in after}
    for row in count_splits(store.read(t.SPLIT_INTERACTIONS)):
        checks[row[c.DOMAIN], f"rows_{row[c.SPLIT]}"] = row[c.NUM_EVENTS]
    run_id = store.night.run_id
    kept = [row.asDict() for row in store.read(t.DATA_QUALITY).where(~F.col("check").isin(*OWN_CHECKS)).collect()]
    own = [
        {c.RUN_ID: run_id, c.DOMAIN: domain, "check": check, "value": float(value)}
        for (domain, check), value in sorted(checks.items())
    ]
    write_rows(store.night.lake, t.DATA_QUALITY, [*kept, *own], replace={c.RUN_ID: run_id})


def numeric_columns(settings: Settings) -> dict[str, list[str]]:
    """Numeric attributes per domain that has any."""
    blocks = {name: domain.catalogue for name, domain in settings.domains.items()}
    return {name: block.numerics for name, block in blocks.items() if block.path and block.numerics}


main = step_command("prepare", run)

if __name__ == "__main__":
    typer.run(main)
