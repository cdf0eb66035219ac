"""What score and serve share: a purpose's tables and models in, its users and scorer out."""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from pyspark.sql import DataFrame, SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import commit, new_file
from crossrec_core.frames.lists import recommend
from crossrec_core.frames.lists.user_frame import Target, fallback_user, user_frame
from crossrec_core.frames.prepared.sequences import TIME_CLOCK
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake import candidates_location, item_names_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.settings import Settings
from crossrec_core.tensors.retrieval.candidates import read_label_nums
from crossrec_core.tensors.retrieval.search import APPROXIMATE, Search
from crossrec_core.tensors.scoring.item_names import write_item_names
from crossrec_core.tensors.scoring.list_files import ListsWrite, LoadListWriter
from crossrec_core.tensors.scoring.scorer import LoadModels, ModelFolder
from jobs.cells import ensure_cells
from jobs.likes import positive_values
from jobs.search_report import write_search_report
from jobs.steps import Night

MEMORY_PARTS = 8  # of a machine, one of which holds what its workers map of item vectors


@dataclass(frozen=True)
class FittedModel:
    """A row of the models table that can be scored, and the segments of users it makes lists for."""

    name: str
    domain: str
    location: str
    segments: tuple[str, ...] = c.USER_SEGMENTS


def read_models(
    night: Night, purpose: str, *, domains: Sequence[str], with_controls: bool = False
) -> list[FittedModel]:
    """The models fitted for a purpose on the domains, by name and domain; what is only pretrained makes no lists.

    Nor does the control of the click probability, which is asked for its pairs alone.
    """
    left_out = (c.PRETRAINED,) if with_controls else (c.PRETRAINED, c.STACKED_BASELINES)
    where = {c.RUN_ID: night.run_id, c.PURPOSE: purpose}
    rows = read_rows(night.lake, t.MODELS, where=where)
    models = [to_model(row) for row in rows if row[c.DOMAIN] in domains and row[c.MODEL] not in left_out]
    return sorted(models, key=lambda model: (model.name, model.domain))


def to_model(row: Mapping[str, Any], segments: Sequence[str] = c.USER_SEGMENTS) -> FittedModel:
    """A row of the models table as far as scoring needs it."""
    return FittedModel(row[c.MODEL], row[c.DOMAIN], row["location"], tuple(segments))


def read_targets(settings: Settings, night: Night) -> list[Target]:
    """The target domains, by number."""
    nums, rated = read_label_nums(night.lake, "domain"), positive_values(settings)
    targets = [
        Target(
            name=name,
            num=nums[name],
            clock=_clock(settings, name),
            user_space=settings.domains[name].user_space,
            exclude_seen=settings.domains[name].exclude_seen,
            is_rated=name in rated,
        )
        for name in settings.targets
    ]
    return sorted(targets, key=lambda target: target.num)


def read_users(
    wanted: DataFrame, settings: Settings, night: Night, spark: SparkSession, *, purpose: str, targets: Sequence[Target]
) -> DataFrame:
    """The user frame of a purpose for the wanted (user_num, domain)."""
    where = {c.PURPOSE: purpose}
    return user_frame(
        wanted,
        read_table(spark, night.lake, t.SEQUENCES, run_id=night.run_id, where=where),
        read_table(spark, night.lake, t.HISTORIES, run_id=night.run_id, where=where),
        read_table(spark, night.lake, t.USER_IDS),
        targets=targets,
        max_len=settings.sequences.max_len,
        num_partitions=settings.spark.shuffle_partitions,
        one_clock=len({_clock(settings, name) for name in settings.domains}) == 1,
        user_likes=read_table(spark, night.lake, t.USER_LIKES, run_id=night.run_id, where=where),
    )


def _clock(settings: Settings, domain: str) -> str:
    return domain if settings.domains[domain].time_unit == "order" else TIME_CLOCK


def to_load(
    models: Sequence[FittedModel], settings: Settings, night: Night, spark: SparkSession, *,
    purpose: str, candidates_run: str = "",
) -> LoadModels:  # fmt: skip
    """What the Python workers load: the models and the candidates of the purpose they were fitted for.

    ``candidates_run`` is the run that wrote those, where it is not this one.
    """
    names = model_names(models)
    return LoadModels(
        candidates_folder=night.lake.at(candidates_location(candidates_run or night.run_id, purpose)),
        models=tuple(
            ModelFolder(names.index(model.name), night.lake.at(model.location), model.segments) for model in models
        ),
        threads=settings.score.threads_per_worker,
        workers_per_host=workers_per_host(spark),
        shard_bytes=shard_bytes(settings.score.shard_mib, workers_per_host(spark)),
        with_cells=settings.score.search == APPROXIMATE,
    )


def model_names(models: Sequence[FittedModel]) -> list[str]:
    """The distinct names; a name's place is its model_index."""
    return sorted({model.name for model in models})


def workers_per_host(spark: SparkSession) -> int:
    """How many Python workers share a machine's cores: all of them where the master is this machine."""
    if str(spark.sparkContext.master).startswith("local"):
        return spark.sparkContext.defaultParallelism
    return int(spark.conf.get("spark.executor.cores", None) or os.cpu_count() or 1)


def shard_bytes(shard_mib: int, num_workers: int) -> int:
    """Item vectors that a worker maps at a time; 0 is its part of an eighth of this machine's memory."""
    return shard_mib * 2**20 or psutil.virtual_memory().total // MEMORY_PARTS // num_workers


def write_lists(
    users: DataFrame, models: Sequence[FittedModel], settings: Settings, night: Night, spark: SparkSession, *,
    purpose: str, targets: Sequence[Target], candidates_run: str = "",
) -> int:  # fmt: skip
    """Score the users and the fallback user by all the models in one pass and write the lists; returns the rows.

    Rows of a file are in the order of users and ranks, so that a reader of one user's list can skip the rest.
    """
    fallback = fallback_user(spark, targets=targets, max_len=settings.sequences.max_len)
    names_folder = night.lake.at(item_names_location(night.run_id, purpose))
    write_item_names(night.lake, names_folder)
    names, domains = model_names(models), {target.num: target.name for target in targets}
    write = ListsWrite(
        lake=night.lake,
        write_id=uuid.uuid4().hex,
        run_id=night.run_id,
        run_date=night.run_date,
        purpose=purpose,
        models=tuple(names),
        domains=domains,
        names_folder=names_folder,
    )
    load = to_load(models, settings, night, spark, purpose=purpose, candidates_run=candidates_run)
    rules = settings.score
    search = Search(rules.n, rules.block_items, rules.search, rules.oversample, rules.num_probes)
    if search.kind == APPROXIMATE:
        ensure_cells([model.location for model in models], settings, night)
    get_writer = LoadListWriter(load, write, search)
    written = recommend.write_lists(users.unionByName(fallback), get_writer, batch_users=rules.batch_users)
    spark.sparkContext.setJobDescription(f"write {t.RECOMMENDATIONS.name}")  # what Spark's UI shows
    files = [new_file(*row) for row in written.collect()]
    spark.sparkContext.setJobDescription("")
    commit(night.lake, t.RECOMMENDATIONS, files, replace={c.PURPOSE: purpose, c.RUN_ID: night.run_id})
    write_search_report(users, load, search, settings, night, purpose=purpose, models=names, domains=domains)
    return sum(file.num_rows for file in files)
