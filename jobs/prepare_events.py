"""Interactions and catalogues in, numbered and split events out: the first half of prepare."""

from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import NO_VERSION, live_files, version_of, write_rows
from crossrec_core.errors import ConfigError
from crossrec_core.frames.prepared.catalogues import read_catalogue
from crossrec_core.frames.prepared.ids import append_numbers, check_id_types, new_names, number_labels
from crossrec_core.frames.prepared.normalise import MISSING_VALUE, split_missing
from crossrec_core.frames.prepared.splits import (
    make_cuts,
    read_last_orders,
    with_leave_one_out,
    with_tie_break,
    with_time_split,
)
from crossrec_core.frames.spark.lookups import lookup
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import CatalogueSettings, Settings
from jobs.store import Store

ACTION_KIND, DOMAIN_KIND = "action", "domain"
ITEMS_SCHEMA = ", ".join(
    f"{column.name} {column.type}" for column in t.ITEM_FEATURES.columns if column.name not in (c.RUN_ID, c.ITEM_NUM)
)


def read_items(settings: Settings, spark: SparkSession) -> DataFrame:
    """The items of all catalogues; a catalogue that several domains share is read once."""
    shared: dict[tuple[str, str], dict[str, CatalogueSettings]] = {}
    for name, domain in settings.domains.items():
        if domain.catalogue.path:
            own = "" if domain.catalogue.domain_column else name
            shared.setdefault((domain.catalogue.path, own), {})[name] = domain.catalogue
    frames = [spark.createDataFrame([], ITEMS_SCHEMA)]
    for domains in shared.values():
        values = {name: settings.domains[name].domain_value or name for name in domains}
        where, like = f"domains.{','.join(sorted(domains))}.catalogue", next(iter(domains.values()))
        frames.append(
            read_catalogue(
                spark, where=where, path=like.path, file_format=like.format, item_id=like.item_id, title=like.title,
                text=like.text, categories=like.categories, separator=like.separator, numerics=like.numerics,
                labels=like.labels, domain_column=like.domain_column, domain_values=values,
            ).select(*frames[0].columns)
        )  # fmt: skip
    return reduce(DataFrame.unionByName, frames)


def complete(settings: Settings, store: Store) -> DataFrame:
    """The run's interactions; with fill = drop those without a value go to rejects."""
    interactions = store.read(t.INTERACTIONS)
    domains = value_domains(settings) if settings.normalise.fill == "drop" else []
    parts = split_missing(interactions, domains=domains)
    if domains:
        store.write(parts.rejected, t.REJECTS, replace={c.REASON: MISSING_VALUE})
    return parts.kept if domains else interactions


def write_ids(interactions: DataFrame, items: DataFrame, settings: Settings, store: Store) -> dict[str, int]:
    """Number the users, items, domains and actions that no run has seen."""
    users = with_spaces(interactions, settings).select(c.USER_SPACE, c.USER_ID)
    both = interactions.select(c.DOMAIN, c.ITEM_ID).unionByName(items.select(c.DOMAIN, c.ITEM_ID))
    named = with_spaces(both, settings).select(c.ITEM_SPACE, c.ITEM_ID)
    counts = write_names(users, t.USER_IDS, c.USER_SPACE, c.USER_ID, c.USER_NUM, store)
    counts |= write_names(named, t.ITEM_IDS, c.ITEM_SPACE, c.ITEM_ID, c.ITEM_NUM, store)
    since, existing = version_of(store.night.lake, t.LABEL_IDS), read_rows(store.night.lake, t.LABEL_IDS)
    own = {(row[c.KIND], row[c.LABEL_NAME]) for row in existing if row[c.RUN_ID] == store.night.run_id}
    numbers = {(row[c.KIND], row[c.LABEL_NAME]): row[c.LABEL_NUM] for row in existing}
    labels = {(DOMAIN_KIND, name) for name in settings.domains}
    labels |= {(ACTION_KIND, action) for domain in settings.domains.values() for action in domain.events}
    new = own | labels - set(numbers)
    rows = [
        {c.RUN_ID: store.night.run_id, c.KIND: kind, c.LABEL_NAME: name, c.LABEL_NUM: number}
        for (kind, name), number in number_labels(numbers, labels).items()
        if (kind, name) in new
    ]
    run_rows = {c.RUN_ID: store.night.run_id}
    num_rows = write_rows(store.night.lake, t.LABEL_IDS, rows, replace=run_rows, since=since)
    return counts | {t.LABEL_IDS.name: num_rows}


def write_names(names: DataFrame, table: t.Table, space: str, name: str, number: str, store: Store) -> dict[str, int]:
    """Write the run's rows of an id table; refused when another run has numbered names meanwhile.

    Where every name has its number already, nothing is written: what the run has there stays.
    """
    lake, run_id, keys = store.night.lake, store.night.run_id, [space, name]
    since = version_of(lake, table)
    existing, names = store.read_all(table), names.distinct().cache()
    new = names if since == NO_VERSION else new_names(names, existing, keys=keys).cache()
    try:
        if since != NO_VERSION and new.count() == 0:
            return {table.name: sum(file.num_rows for file in live_files(lake, table, where={c.RUN_ID: run_id}))}
        if since != NO_VERSION:
            others = existing.where(F.col(c.RUN_ID) != run_id)
            check_id_types(others, names, new, space=space, name=name, table=table.name)
        return store.write(append_numbers(existing, new, keys=keys, number=number, run_id=run_id), table, since=since)
    finally:
        new.unpersist()
        names.unpersist()


def with_spaces(rows: DataFrame, settings: Settings) -> DataFrame:
    """Add the user space and the item space of a row's domain."""
    user_spaces = {name: domain.user_space for name, domain in settings.domains.items()}
    item_spaces = {name: settings.item_space(name) for name in settings.domains}
    return rows.withColumn(c.USER_SPACE, lookup(user_spaces, c.DOMAIN)).withColumn(
        c.ITEM_SPACE, lookup(item_spaces, c.DOMAIN)
    )


def read_labels(kind: str, store: Store) -> dict[str, int]:
    """Name -> number of the labels of a kind."""
    rows = read_rows(store.night.lake, t.LABEL_IDS)
    return {row[c.LABEL_NAME]: row[c.LABEL_NUM] for row in rows if row[c.KIND] == kind}


def number_events(interactions: DataFrame, settings: Settings, store: Store, *, items: DataFrame) -> DataFrame:
    """Replace outside names by numbers and add the tie break.

    ``items`` holds (item_space, item_id, item_num); events with others are left out.
    """
    users = store.read_all(t.USER_IDS).drop(c.RUN_ID)
    events = with_tie_break(with_spaces(interactions, settings), seed=settings.split.seed)
    return (
        events.withColumn(c.ACTION_NUM, lookup(read_labels(ACTION_KIND, store), c.ACTION))
        .join(users, on=[c.USER_SPACE, c.USER_ID], how="inner")
        .join(items, on=[c.ITEM_SPACE, c.ITEM_ID], how="inner")
        .select(*[name for name in t.SPLIT_INTERACTIONS.column_names if name not in (c.RUN_ID, c.SPLIT)])
    )


def number_items(items: DataFrame, settings: Settings, store: Store) -> DataFrame:
    """Add item_num to catalogue rows."""
    numbers = store.read_all(t.ITEM_IDS).drop(c.RUN_ID)
    return with_spaces(items, settings).join(numbers, on=[c.ITEM_SPACE, c.ITEM_ID], how="inner")


def split(events: DataFrame, settings: Settings) -> DataFrame:
    """Add the split that the protocol gives each event."""
    rules = settings.split
    if rules.protocol == "leave_one_out":
        return with_leave_one_out(
            events, hold_test=rules.test_days > 0, hold_valid=rules.valid_days > 0,
            across_domains=rules.leave_out == "user",
        )  # fmt: skip
    last_orders = dict.fromkeys(settings.domains, 0) if rules.cut else read_last_orders(events)
    try:
        cuts = make_cuts(
            last_orders, cut=rules.cut, test_days=rules.test_days, valid_days=rules.valid_days,
            per_domain=rules.per_domain,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"split.cut: seen {rules.cut!r}; expected an ISO date such as 2026-01-31") from error
    return with_time_split(events, cuts)


def value_domains(settings: Settings) -> list[str]:
    """Domains whose events carry a value."""
    return [name for name, domain in settings.domains.items() if domain.value]
