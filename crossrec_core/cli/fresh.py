"""A user and the published model in, the user's list as the model scores it now out. Imports torch: seconds."""

import json
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import torch

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.lists import Served
from crossrec_core.config import parse_config
from crossrec_core.errors import LakeError
from crossrec_core.lake import Lake, candidates_location
from crossrec_core.lake_reader import Answer, connect, parts_of, query
from crossrec_core.ledger import read_steps
from crossrec_core.settings import Settings
from crossrec_core.tensors.inputs.user_batch import Ragged, UserBatch
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.retrieval.topk import BLOCK_ITEMS
from crossrec_core.tensors.scoring.ranked_lists import Columns, rank_batch
from crossrec_core.tensors.scoring.scorer import LoadModels, ModelFolder, load_models

LISTS = (c.ITEM_NUMS, c.DOMAIN_NUMS, c.ACTION_NUMS, c.GAP_BUCKETS, c.EVENT_ORDERS)
TABLES = (t.USER_IDS, t.LABEL_IDS, t.SEQUENCES, t.HISTORIES, t.USER_LIKES, t.MODELS, t.ITEM_FEATURES)
USER = "SELECT user_num FROM user_ids WHERE user_space = $1 AND user_id = $2"
DOMAIN_NUM = "SELECT label_num FROM label_ids WHERE kind = 'domain' AND label_name = $1"
# Where serving refits nothing, the lists come from the models of the backtest
MODEL = f"""
SELECT purpose, location FROM models
WHERE model = $1 AND domain = $2
ORDER BY coalesce(list_position(['{c.SERVE}', '{c.BACKTEST}'], purpose), 3)
LIMIT 1
"""
SEQUENCES = f"""
SELECT clock, length, {", ".join(LISTS)} FROM sequences WHERE purpose = '{c.SERVE}' AND user_num = $1 ORDER BY clock
"""
SEEN = f"SELECT item_nums FROM histories WHERE purpose = '{c.SERVE}' AND domain = $1 AND user_num = $2"
LIKES = f"""
SELECT num_likes, num_rated FROM user_likes WHERE purpose = '{c.SERVE}' AND domain = $1 AND user_num = $2
"""
NAMED = """
SELECT
    $1 AS user_id, $2 AS domain, scored.rank, item_features.item_id, item_features.title, scored.score,
    scored.probability, scored.path, $8 AS model, false AS is_fallback
FROM (
    SELECT
        unnest($3::INTEGER[]) AS rank, unnest($4::BIGINT[]) AS item_num, unnest($5::DOUBLE[]) AS score,
        unnest($6::DOUBLE[]) AS probability, unnest($7::VARCHAR[]) AS path
) AS scored
INNER JOIN item_features ON item_features.item_num = scored.item_num AND item_features.domain = $2
ORDER BY scored.rank
"""


@dataclass(frozen=True)
class Asked:
    """One user and one target domain, in the lake's own numbers."""

    user_id: str
    user_num: int
    domain: str
    domain_num: int
    clock: str
    exclude_seen: bool
    max_len: int


def score_fresh(lake: Lake, served: Served, user_id: str, *, n: int) -> Answer | None:
    """The user's ``n`` best items by the model of the user's segment; None for an unknown user.

    The columns are those of ``lists.read_lists``.

    Raises:
        LakeError: the run keeps no settings or no model for the domain.
        CheckpointError: the model is missing, broken or made for other ids.
    """
    settings = read_settings(lake, served.run_id)
    with connect(lake, run_id=served.run_id, tables=TABLES) as connection:
        asked = _find_user(connection, settings, served, user_id)
        if asked is None:
            return None
        seen = _one(connection, SEEN, asked.domain, asked.user_num)
        model = served.model_of(c.COLD_IN_DOMAIN if seen is None else c.WARM)
        found = query(connection, MODEL, [model, served.domain]).rows
        if not found:
            what = f"run {served.run_id}: no model {model} of {served.domain} to score with"
            raise LakeError(f"{what}; leave out --fresh for the published list")
        purpose, location = found[0]
        load = LoadModels(
            candidates_folder=lake.at(candidates_location(parts_of(lake, served.run_id)[-1], purpose)),
            models=(ModelFolder(0, lake.at(location)),),
            threads=0,
            workers_per_host=1,
        )
        batch = _user_batch(connection, asked, (seen or []) if asked.exclude_seen else [])
        return _named(connection, asked, model, rank_batch(batch, load_models(load), search=Search(n, BLOCK_ITEMS)))


def read_settings(lake: Lake, run_id: str) -> Settings:
    """The settings a run was made with. Raises LakeError when the run left none."""
    steps = read_steps(lake, run_id)
    if not steps:
        raise LakeError(f"{lake.path}: run {run_id} left no settings; see `crossrec runs`")
    return parse_config(json.loads(steps[-1].config), where=f"settings of run {run_id}")


def _find_user(connection: duckdb.DuckDBPyConnection, settings: Settings, served: Served, user_id: str) -> Asked | None:
    domain = settings.domains[served.domain]
    user_num = _one(connection, USER, domain.user_space, user_id)
    if user_num is None:
        return None
    return Asked(
        user_id=user_id,
        user_num=int(user_num),
        domain=served.domain,
        domain_num=int(_one(connection, DOMAIN_NUM, served.domain)),
        clock=served.domain if domain.time_unit == "order" else "time",
        exclude_seen=domain.exclude_seen,
        max_len=settings.sequences.max_len,
    )


def _user_batch(connection: duckdb.DuckDBPyConnection, asked: Asked, seen: list[int]) -> UserBatch:
    """A batch of the one user: the sequence of the domain's clock, else the events of the other clocks."""
    clocks = query(connection, SEQUENCES, [asked.user_num]).to_dicts()
    chosen = [row for row in clocks if row[c.CLOCK] == asked.clock] or clocks
    seen_S = torch.tensor(seen, dtype=torch.int64)
    counts = query(connection, LIKES, [asked.domain, asked.user_num]).rows or [(0, 0)]
    lists = {}
    for name in LISTS:
        events = [value for sequence in chosen for value in sequence[name][: sequence[c.LENGTH]]][-asked.max_len :]
        lists[name] = torch.tensor([events + [0] * (asked.max_len - len(events))])
    return UserBatch(
        user_ids_B=np.array([asked.user_id], dtype=object),
        items_BL=lists[c.ITEM_NUMS],
        domains_BL=lists[c.DOMAIN_NUMS],
        actions_BL=lists[c.ACTION_NUMS],
        gaps_BL=lists[c.GAP_BUCKETS],
        orders_BL=lists[c.EVENT_ORDERS],
        seen={asked.domain_num: Ragged(torch.zeros_like(seen_S), seen_S)},
        wanted_B={asked.domain_num: torch.tensor([True])},
        likes_B2={asked.domain_num: torch.tensor(counts)},
    )


def _named(connection: duckdb.DuckDBPyConnection, asked: Asked, model: str, scored: Columns) -> Answer:
    probability = [None if value != value else float(value) for value in scored[c.PROBABILITY]]
    paths = [c.PATHS[code] for code in scored[c.PATH_CODE]]
    columns = [scored[name].tolist() for name in (c.RANK, c.ITEM_NUM, c.SCORE)]
    return query(connection, NAMED, [asked.user_id, asked.domain, *columns, probability, paths, model])


def _one(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> Any:
    """The one value of a query, or None where it has no row."""
    rows = query(connection, sql, parameters).rows
    return rows[0][0] if rows else None
