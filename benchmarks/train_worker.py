"""This project's share of benchmarks/train.py: from Parquet to a trained model as jobs/pretrain.py, told when to go on.

An epoch per line of stdin. Variant 0 trains as settings say by default, 1 in float32.
"""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.peers.workers.epochs import CHECKED, Job, end_turn, read_job, save_vectors, wait_for_turn
from crossrec_core import columns as c
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.lake import Lake
from crossrec_core.settings import Settings
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, drop_without_targets
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.retrieval.candidates import Candidates
from jobs.ground import NUM_GAP_BUCKETS, Ground
from jobs.steps import Night
from jobs.training import new_model, read_training_batches, train

LOG, DOMAIN = "log", 1
ROWS_PER_GROUP = 10_000
EVERY_SIZE = 2**31


def main() -> None:
    """Train, and write the vectors."""
    job = read_job()
    settings = to_settings(job)
    torch.set_num_threads(job.task["threads"])
    ground = to_ground(job, settings)
    model = new_model(settings, ground)
    numbers = torch.tensor([DOMAIN])
    left = job.epochs

    def turn(_: object) -> None:
        nonlocal left
        end_turn(job)
        left -= 1
        if left:
            wait_for_turn()

    wait_for_turn()
    train(
        settings, ground, model, settings.train.pretrain, label="train", domains=[LOG], epochs=job.epochs,
        pick_rows=lambda columns: drop_without_targets(columns, numbers), on_epoch=turn,
    )  # fmt: skip
    batches = read_training_batches(settings, ground, settings.train.pretrain, dict, 1)
    num_targets = sum(int((batch.target_items_BL != 0).sum()) for batch in batches)
    items_UL = right_padded(job, length=job.task["length"])
    with torch.no_grad():
        users_UD = torch.cat([queries(model, items_BL) for items_BL in items_UL.split(512)])
        items_VD = model.item_vectors(torch.arange(1, job.task["num_items"] + 1))
        own_scores = last_of_all(model, items_UL[:CHECKED]) @ items_VD.T
    num_weights = sum(weights.numel() for weights in model.parameters())
    save_vectors(
        job, users_UD.numpy(), items_VD.numpy(), own_scores.numpy(), num_targets=num_targets, num_weights=num_weights
    )


def to_settings(job: Job) -> Settings:
    """The defaults, but for what all contenders share; ids have nothing beside them, so that none is hidden."""
    task = job.task
    model = {
        "width": task["width"], "layers": task["layers"], "heads": task["heads"], "dropout": task["dropout"],
        "id_dropout": 0.0, "num_negatives": max(task["negatives"], 1),
        "full_softmax_items": 0 if task["negatives"] else EVERY_SIZE,
    }  # fmt: skip
    train = {
        "seed": task["seed"], "bf16": job.variant == 0,
        "pretrain": {"batch_size": task["batch_size"], "min_steps": 0, "max_epochs": job.epochs},
    }  # fmt: skip
    return read_config(DEFAULTS, overrides={
        "domains": {LOG: {"path": "none"}}, "model": model, "train": train,
        "sequences": {"max_len": task["length"] + 1},
    })  # fmt: skip


def to_ground(job: Job, settings: Settings) -> Ground:
    """What prepare and read_ground make of one domain's log without times and texts."""
    file = job.folder / f"ours-{job.variant}.parquet"
    write_sequences(job, file)
    counts_V = np.bincount(np.concatenate(job.sequences), minlength=job.task["num_items"] + 1)[1:]
    shares_V = torch.from_numpy(counts_V / counts_V.sum()).float()
    candidates = Candidates(
        items={DOMAIN: torch.arange(1, job.task["num_items"] + 1)}, popularity={DOMAIN: shares_V},
        trends={DOMAIN: shares_V.expand(len(settings.blend.half_lives_days), -1)}, domains={LOG: DOMAIN},
        id_fingerprint=LOG, events={DOMAIN: shares_V.clamp(min=torch.finfo(torch.float32).tiny)},
    )  # fmt: skip
    rules = settings.model
    config = ModelConfig(
        encoder=rules.encoder, num_items=job.task["num_items"], num_domains=1, num_actions=1,
        num_gap_buckets=NUM_GAP_BUCKETS, width=rules.width, layers=rules.layers, heads=rules.heads,
        dropout=rules.dropout, id_dropout=rules.id_dropout, max_len=settings.sequences.max_len, text_dimensions=0,
        relative_bias=rules.relative_bias, adapter_rank=rules.adapter_rank, mask_share=rules.mask_share,
        mask_last_share=rules.mask_last_share, normalise_inputs=settings.normalises_inputs,
    )  # fmt: skip
    night = Night(LOG, date.today(), Lake(str(job.folder), {}))
    return Ground(
        night, c.BACKTEST, (str(file),), candidates, config, None, None, held_out={}, device=torch.device("cpu")
    )


def write_sequences(job: Job, file: Path) -> None:
    """As prepare writes them: lists of one length, zeros behind the latest event."""
    items_UL = right_padded(job, length=job.task["length"] + 1)
    columns = dict(zip(SEQUENCE_COLUMNS, event_columns(items_UL), strict=True))
    lists = {name: pa.array(list(values.numpy())) for name, values in columns.items()}
    pq.write_table(pa.table(lists), file, row_group_size=ROWS_PER_GROUP)


def right_padded(job: Job, *, length: int) -> Tensor:
    """The latest ``length`` events of each user, zeros behind them: int64 [U, length]."""
    rows = np.zeros((len(job.sequences), length), dtype=np.int64)
    for row, events in zip(rows, job.sequences, strict=True):
        row[: min(len(events), length)] = events[-length:]
    return torch.from_numpy(rows)


def event_columns(items_BL: Tensor) -> list[Tensor]:
    """The sequence columns of items of which nothing else is known."""
    is_event_BL = (items_BL != 0).long()
    return [items_BL, is_event_BL, is_event_BL, is_event_BL, is_event_BL.cumsum(dim=1) * is_event_BL]


def queries(model: SequenceModel, items_BL: Tensor) -> Tensor:
    """What is asked for after the latest event, [B, D]."""
    return model.last_query(*event_columns(items_BL), target_domain=DOMAIN)


def last_of_all(model: SequenceModel, items_BL: Tensor) -> Tensor:
    """The same from the vectors of all events, as training makes them."""
    hidden_BLD = model(*event_columns(items_BL), wanted_domains_BL=torch.full_like(items_BL, DOMAIN))
    last_B = (items_BL != 0).sum(dim=1) - 1
    return model.query(hidden_BLD[torch.arange(len(items_BL)), last_B], torch.full_like(last_B, DOMAIN))


if __name__ == "__main__":
    main()
