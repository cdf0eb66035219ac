"""A run's validation ground in, the same ground cut back in time out: what cross-validation of settings stands on.

Everything is made from the rows of purpose ``validate``, which hold training events alone; the last fold is that ground
itself with the run's own validation users. Nothing here names another purpose, so what lies in the test window cannot
be reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.errors import ConfigError
from crossrec_core.frames.prepared.splits import DAY_US
from crossrec_core.lake import local_path
from crossrec_core.settings import Settings
from crossrec_core.tensors.folders import replace_folder
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.folds import Cut, cut_by_place, cut_by_time, keep_events, truth_of
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut
from jobs.forgetting import last_orders, read_rows
from jobs.ground import Ground

ROW_COLUMNS = (*SEQUENCE_COLUMNS, c.USER_NUM)
HASH = 0x9E3779B97F4A7C1  # odd: spreads neighbouring user numbers


@dataclass(frozen=True)
class Fold:
    """One block of time, ``back`` blocks before the validation window (0: that window), and what it stands on."""

    back: int
    ground: Ground
    folder: str  # what is made for this fold alone

    @property
    def num_users(self) -> dict[str, int]:
        """Held-out users by domain."""
        return {domain: len(users.truth_RT) for domain, users in self.ground.held_out.items()}


@dataclass(frozen=True)
class Block:
    """Where a fold cuts: by time with both bounds per domain number, or by place from the end."""

    back: int
    start_D: Tensor | None = None
    end_D: Tensor | None = None

    def cut(self, rows: Mapping[str, Tensor]) -> Cut:
        """The events of a batch that the fold knows and that it holds out."""
        if self.start_D is None or self.end_D is None:
            return cut_by_place(rows, place=self.back)
        return cut_by_time(rows, start_D=self.start_D, end_D=self.end_D)


def make_folds(settings: Settings, ground: Ground, folder: str) -> list[Fold]:
    """``tune.folds`` folds, the earliest first; the sequences of the earlier ones are written under ``folder``.

    By time each block is as long as the validation window and ends where the next one begins. By leave-one-out each
    goes one event per user and domain further back. Sequences are cut again, not made again: of a user with more than
    ``sequences.max_len`` training events an early fold sees fewer than it could.

    Raises:
        ConfigError: a fold without held-out users in a domain that is judged.
    """
    assert ground.purpose == c.VALIDATE, "settings are tuned on what validation may know"
    blocks = [_block(settings, ground, back) for back in range(settings.tune.folds - 1, 0, -1)]
    folds = [_make_fold(settings, ground, block, f"{folder}/fold_{block.back}") for block in blocks]
    folds.append(Fold(0, ground, f"{folder}/fold_0"))
    for fold in folds:
        lacking = [domain for domain in judged_domains(settings) if not fold.num_users.get(domain)]
        if lacking:
            raise ConfigError(
                f"tune.folds = {settings.tune.folds}: block {fold.back} before validation has no user to judge "
                f"{lacking[0]} by; take fewer folds or a longer split.valid_days, or leave it out of tune.domains"
            )
    return folds


def judged_domains(settings: Settings) -> list[str]:
    """The domains whose validation counts: those named, or all targets; the pretrained model knows sources only."""
    learnt = settings.sources if settings.tune.model == c.PRETRAINED else settings.domains
    return sorted(domain for domain in settings.tune.domains or settings.targets if domain in learnt)


def _block(settings: Settings, ground: Ground, back: int) -> Block:
    if settings.split.protocol == "leave_one_out":
        return Block(back)
    last_D = last_orders(ground)
    if not settings.split.per_domain:
        last_D = last_D.max().expand_as(last_D)
    length = round(settings.split.valid_days * DAY_US)
    return Block(back, last_D + 1 - back * length, last_D + 1 - (back - 1) * length)


def _make_fold(settings: Settings, ground: Ground, block: Block, folder: str) -> Fold:
    """Write what the block knows, and pick the users and the candidates it judges by."""
    counts_DI, files = _write_known(ground, block, folder), (f"{folder}/sequences.parquet",)
    candidates = _candidates_of(settings, ground, counts_DI)
    held_out = {
        domain: _held_out(settings, ground, block, domain, candidates)
        for domain in judged_domains(settings)
        if domain in candidates.domains
    }
    held_out = {domain: users for domain, users in held_out.items() if len(users.truth_RT)}
    return Fold(
        block.back, replace(ground, files=files, earlier_files=(), candidates=candidates, held_out=held_out), folder
    )


def _write_known(ground: Ground, block: Block, folder: str) -> Tensor:
    """Write the sequences as the block knows them; returns the known events per domain and item number, [D, I]."""
    counts_DI = torch.zeros(ground.config.num_domains + 1, ground.config.num_items + 1, dtype=torch.int64)
    schema = pa.schema([(name, pa.list_(pa.int64())) for name in SEQUENCE_COLUMNS])
    with replace_folder(folder) as staging, pq.ParquetWriter(staging / "sequences.parquet", schema) as writer:
        for rows in read_rows(ground, ROW_COLUMNS):
            known = keep_events(rows, block.cut(rows).is_known_BL)
            kept_B = (known["item_nums"] != 0).any(dim=1)
            known = {name: values[kept_B] for name, values in known.items()}
            pairs = known["domain_nums"].flatten(), known["item_nums"].flatten()
            counts_DI.index_put_(pairs, torch.ones_like(pairs[0]), accumulate=True)
            writer.write_table(pa.table({name: _to_lists(values) for name, values in known.items()}, schema=schema))
    counts_DI[:, 0] = 0
    return counts_DI


def _candidates_of(settings: Settings, ground: Ground, counts_DI: Tensor) -> Candidates:
    """Items with known events; all the run's with ``score.candidates = listed``: catalogues have no date.

    Popularity is the share of known events; nothing that a trial fits reads it.
    """
    is_listed = settings.score.candidates == "listed"
    items, popularity, trends, domains, touched = {}, {}, {}, {}, {}
    for name, number in ground.candidates.domains.items():
        nums_V = ground.candidates.items[number] if is_listed else torch.nonzero(counts_DI[number]).flatten()
        count_V = counts_DI[number][nums_V].double()
        if len(nums_V):
            domains[name], items[number] = number, nums_V
            popularity[number] = (count_V / count_V.sum().clamp(min=1)).float()
            trends[number] = popularity[number].expand(len(ground.candidates.trends[number]), -1)
            touched[number] = count_V > 0
    return Candidates(items, popularity, trends, domains, ground.candidates.id_fingerprint, touched)


def _held_out(settings: Settings, ground: Ground, block: Block, domain: str, candidates: Candidates) -> HeldOut:
    """The block's users of a domain, those of smallest hash where there are more than validation would take."""
    number = candidates.domains[domain]
    exclude_seen = settings.domains[domain].exclude_seen
    new_items_only = exclude_seen and settings.split.protocol == "time"
    names = (*SEQUENCE_COLUMNS, c.TRUTH_NUMS, c.USER_NUM)
    found: dict[str, Tensor] = {}
    for rows in read_rows(ground, ROW_COLUMNS):
        cut = block.cut(rows)
        truth_BT = truth_of(
            rows, cut, domain_num=number, nums_V=candidates.items[number], new_items_only=new_items_only
        )  # fmt: skip
        picked_B = (truth_BT != 0).any(dim=1) & cut.is_known_BL.any(dim=1)
        known = keep_events(rows, cut.is_known_BL) | {c.TRUTH_NUMS: truth_BT, c.USER_NUM: rows[c.USER_NUM]}
        new = {name: known[name][picked_B] for name in names}
        both = {name: torch.cat((found[name], new[name])) for name in names} if found else new
        order = (both[c.USER_NUM] * HASH).argsort()[: settings.split.max_validation_users]
        found = {name: values[order] for name, values in both.items()}
    events = {name: found[name] for name in SEQUENCE_COLUMNS}
    return HeldOut(events, found[c.TRUTH_NUMS], found[c.USER_NUM], number, exclude_seen)


def _to_lists(values_BL: Tensor) -> pa.Array:
    offsets = pa.array(range(0, values_BL.numel() + 1, values_BL.shape[1]), type=pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values_BL.flatten().numpy()))


def require_local(folder: str) -> Path:
    """The folder as a local path.

    Raises:
        ConfigError: the lake is not on this machine: an Optuna journal needs a file system with locks.
    """
    local = local_path(folder)
    if local is None:
        raise ConfigError(f"lake.path: {folder} is not a local path; tune keeps its journal in the lake; mount it")
    return Path(local)
