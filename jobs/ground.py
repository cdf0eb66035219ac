"""A run's tables in, what training for one purpose stands on out; no model is trained here."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import live_files
from crossrec_core.errors import LakeError
from crossrec_core.frames.prepared.ids import fingerprint
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.lake import Lake, model_location
from crossrec_core.lake_reader import read_arrow, scan_arrow
from crossrec_core.settings import Settings
from crossrec_core.tensors.devices import pick_device, set_up_cpu
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.chunks import to_array
from crossrec_core.tensors.network.encoder import ModelConfig
from crossrec_core.tensors.network.items import ItemAttributes, no_attributes
from crossrec_core.tensors.retrieval.candidates import Candidates, read_label_nums, write_candidates
from crossrec_core.tensors.training.validation import HeldOut
from jobs.likes import like_strengths, read_user_likes
from jobs.steps import Night

NUM_GAP_BUCKETS = 40  # log2 of seconds: 2^38 s are 8,700 years


@dataclass(frozen=True)
class Ground:
    """What the models of one purpose stand on."""

    night: Night
    purpose: str
    files: tuple[str, ...]  # live files of sequences
    candidates: Candidates
    config: ModelConfig
    text_vectors_IK: Tensor | None
    attributes: ItemAttributes | None
    held_out: Mapping[str, HeldOut]  # by domain; empty for all purposes but validate
    device: torch.device
    catalogue_sizes: Mapping[int, int] = field(default_factory=dict)  # by domain number: candidates, all events known
    # by target domain: negatives sampled beside a positive; 0 where the labels are read off the log
    num_negatives: Mapping[str, int] = field(default_factory=dict)
    earlier_files: tuple[str, ...] = ()  # live files of earlier_sequences, which training reads beside ``files``

    def folders(self, model: str, domains: Iterable[str]) -> dict[str, str]:
        """Where the artifacts of a model lie, by domain."""
        run_id, lake = self.night.run_id, self.night.lake
        return {domain: lake.at(model_location(run_id, self.purpose, model, domain)) for domain in domains}


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs of held-out users; all int64 [P]."""

    rows_P: Tensor  # place of the user among the held-out users
    user_nums_P: Tensor
    item_nums_P: Tensor
    labels_P: Tensor


def find_purposes(lake: Lake, run_id: str) -> list[str]:
    """The purposes for which prepare made sequences, in the order validate, backtest, serve."""
    found = {file.partition_values[c.PURPOSE] for file in live_files(lake, t.SEQUENCES, where={c.RUN_ID: run_id})}
    return [purpose for purpose in c.KNOWN_SPLITS if purpose in found]


def read_ground(settings: Settings, night: Night, spark: SparkSession, purpose: str) -> Ground:
    """Read what training for a purpose needs, and write the purpose's candidate artifact."""
    where = {c.RUN_ID: night.run_id, c.PURPOSE: purpose}
    files, earlier_files = (
        tuple(file.uri for file in live_files(night.lake, table, where=where) if file.num_rows)
        for table in (t.SEQUENCES, t.EARLIER_SEQUENCES)
    )
    if not files:
        raise LakeError(f"sequences: run {night.run_id} has none for {purpose}; run jobs/prepare.py first")
    item_ids = read_table(spark, night.lake, t.ITEM_IDS)
    num_items = int(item_ids.agg(F.max(c.ITEM_NUM)).collect()[0][0])
    candidates = write_candidates(
        night.lake, night.run_id, purpose, id_fingerprint=fingerprint(item_ids),
        like_strengths=like_strengths(settings),
    )  # fmt: skip
    text_vectors_IK = read_text_vectors(
        night.lake, night.run_id, num_items, encoder=settings.text.encoder, dimensions=settings.text.dimensions
    )
    num_attributes = count_attributes(night.lake, night.run_id)
    attributes = read_attributes(night.lake, night.run_id, num_items) if num_attributes else None
    model = settings.model
    config = ModelConfig(
        encoder=model.encoder, num_items=num_items, num_domains=max(read_label_nums(night.lake, "domain").values()),
        num_actions=max(read_label_nums(night.lake, "action").values()), num_gap_buckets=NUM_GAP_BUCKETS,
        width=model.width, layers=model.layers, heads=model.heads, dropout=model.dropout, id_dropout=model.id_dropout,
        max_len=settings.sequences.max_len,
        text_dimensions=0 if text_vectors_IK is None else text_vectors_IK.shape[1],
        relative_bias=model.relative_bias, adapter_rank=model.adapter_rank, mask_share=model.mask_share,
        mask_last_share=model.mask_last_share, normalise_inputs=settings.normalises_inputs,
        num_attributes=num_attributes, attributes_per_item=0 if attributes is None else attributes.nums_IA.shape[1],
    )  # fmt: skip
    held_out = read_held_out(settings, night, candidates.domains) if purpose == c.VALIDATE else {}
    set_up_cpu(settings.train.threads or len(os.sched_getaffinity(0)))
    device = pick_device(settings.train.device)
    is_listed = settings.score.candidates == "listed"
    sizes = read_catalogue_sizes(night, candidates.domains, is_listed=is_listed)
    num_negatives = {domain: settings.sampled_negatives(domain) for domain in settings.targets}
    return Ground(
        night, purpose, files, candidates, config, text_vectors_IK, attributes, held_out, device, sizes, num_negatives,
        earlier_files,
    )  # fmt: skip


def read_catalogue_sizes(night: Night, domains: Mapping[str, int], *, is_listed: bool) -> dict[int, int]:
    """How many items of each domain have events that serve may know: the same whatever the purpose.

    Where only such items are candidates the files' row counts say so; catalogues that are listed have others beside.
    """
    sizes: dict[int, int] = {}
    for name, number in domains.items():
        where = {c.RUN_ID: night.run_id, c.PURPOSE: c.SERVE, c.DOMAIN: name}
        files = live_files(night.lake, t.ITEM_POPULARITY, where=where)
        if files and is_listed:
            rows = read_arrow(night.lake, t.ITEM_POPULARITY, where=where, columns=[c.NUM_EVENTS])
            sizes[number] = pc.sum(pc.greater(rows[c.NUM_EVENTS], 0)).as_py()
        elif files:
            sizes[number] = sum(file.num_rows for file in files)
    return sizes


def read_text_vectors(lake: Lake, run_id: str, num_items: int, *, encoder: str, dimensions: int) -> Tensor | None:
    """Text vectors by item number, float16 [num_items + 1, K], zero rows without text; None when no item has any."""
    where = {c.RUN_ID: run_id, c.ENCODER: encoder}
    if dimensions == 0 or not any(file.num_rows for file in live_files(lake, t.ITEM_VECTORS, where=where)):
        return None
    vectors_IK = torch.zeros(num_items + 1, dimensions, dtype=torch.float16)
    rows = scan_arrow(lake, t.ITEM_VECTORS, where=where)
    for batch in rows.to_batches(columns=[c.ITEM_NUM, c.VECTOR]):
        nums = torch.from_numpy(batch.column(c.ITEM_NUM).to_numpy().copy())
        flat = torch.from_numpy(pc.list_flatten(batch.column(c.VECTOR)).to_numpy().copy())
        vectors_IK[nums] = flat.view(len(nums), dimensions).half()
    return vectors_IK


def count_attributes(lake: Lake, run_id: str) -> int:
    """The largest number of an attribute value in this run: numbers have no gaps."""
    return sum(file.num_rows for file in live_files(lake, t.ATTRIBUTE_IDS, where={c.RUN_ID: run_id}))


def read_attributes(lake: Lake, run_id: str, num_items: int) -> ItemAttributes:
    """Attribute numbers and weights by item number, as wide as the item with most of them; zeros behind."""
    names, where = [c.ITEM_NUM, c.ATTRIBUTE_NUMS, c.WEIGHTS], {c.RUN_ID: run_id}
    batches = list(scan_arrow(lake, t.ITEM_ATTRIBUTES, where=where).to_batches(columns=names))
    widest = max((pc.max(pc.list_value_length(batch[c.WEIGHTS])).as_py() or 0 for batch in batches), default=0)
    attributes = no_attributes(num_items, widest)
    for batch in batches:
        length_N = pc.list_value_length(batch[c.ATTRIBUTE_NUMS]).to_numpy().astype(np.int64)
        rows_P = torch.from_numpy(np.repeat(batch[c.ITEM_NUM].to_numpy(), length_N))
        places_P = torch.from_numpy(np.arange(length_N.sum()) - np.repeat(length_N.cumsum() - length_N, length_N))
        for name, filled_IA in ((c.ATTRIBUTE_NUMS, attributes.nums_IA), (c.WEIGHTS, attributes.weights_IA)):
            flat_P = torch.from_numpy(pc.list_flatten(batch[name]).to_numpy().copy())
            filled_IA[rows_P, places_P] = flat_P.to(filled_IA.dtype)
    return attributes


def read_held_out(settings: Settings, night: Night, domains: Mapping[str, int]) -> dict[str, HeldOut]:
    """The validation users of each domain that has any; prepare bounds how many."""
    held_out = {}
    for domain, number in domains.items():
        where = {c.RUN_ID: night.run_id, c.DOMAIN: domain}
        if not any(file.num_rows for file in live_files(night.lake, t.VALIDATION_SEQUENCES, where=where)):
            continue
        names = [*SEQUENCE_COLUMNS, c.TRUTH_NUMS, c.USER_NUM]
        rows = read_arrow(night.lake, t.VALIDATION_SEQUENCES, where=where, columns=names)
        values = {name: _to_tensor(rows, name) for name in names}
        exclude_seen = settings.domains[domain].exclude_seen if domain in settings.domains else True
        events = {name: values[name] for name in SEQUENCE_COLUMNS}
        is_rated = domain in like_strengths(settings)
        likes_R2 = read_user_likes(night, domain, values[c.USER_NUM]) if is_rated else None
        held_out[domain] = HeldOut(events, values[c.TRUTH_NUMS], values[c.USER_NUM], number, exclude_seen, likes_R2)
    return held_out


def read_labelled_pairs(ground: Ground, domain: str) -> Pairs:
    """The labelled pairs of a domain's validation users, by user and item; empty without any."""
    users_R, order_R = ground.held_out[domain].user_nums_R.sort()
    where = {c.RUN_ID: ground.night.run_id, c.PURPOSE: c.VALIDATE, c.DOMAIN: domain}
    rows = read_arrow(ground.night.lake, t.LABELLED_PAIRS, where=where, columns=[c.USER_NUM, c.ITEM_NUM, c.LABEL])
    rows = rows.sort_by([(c.USER_NUM, "ascending"), (c.ITEM_NUM, "ascending")])
    user_P, item_P, label_P = (
        torch.from_numpy(rows[name].to_numpy().copy()) for name in (c.USER_NUM, c.ITEM_NUM, c.LABEL)
    )
    places_P = torch.searchsorted(users_R, user_P).clamp(max=len(users_R) - 1)
    kept_P = users_R[places_P] == user_P
    return Pairs(order_R[places_P[kept_P]], user_P[kept_P], item_P[kept_P], label_P[kept_P])


def _to_tensor(rows: pa.Table, name: str) -> Tensor:
    """A column of a small table: int64 [R], or [R, L] for padded lists."""
    values = to_array(rows[name], np.dtype(np.int64), where=f"validation_sequences.{name}")
    return torch.from_numpy(values.copy())
