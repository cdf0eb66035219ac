"""Interactions on disk in, lists on disk out by RecTools' SASRec: made once per line of stdin."""

import sys
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

# Their scores of all items are in memory: 15 GiB for 200,000 users and 20,000 items
SCORES_AT_ONCE = 1_000_000_000

folder, n = Path(sys.argv[1]), int(sys.argv[2])
threads, width, layers, heads, history = (int(argument) for argument in sys.argv[3:])
torch.set_num_threads(threads)
warnings.filterwarnings("ignore")  # Lightning's, about loaders and loggers


def read_dataset() -> Dataset:
    """The users' interactions: user_id, item_id, weight, datetime."""
    return Dataset.construct(pd.read_parquet(folder / "interactions.parquet"))


def one_batch() -> Trainer:
    """Recommending asks for a fitted model; weights change no one's speed."""
    return Trainer(
        max_epochs=1, limit_train_batches=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


items = pc.max(pq.read_table(folder / "interactions.parquet", columns=["item_id"])["item_id"]).as_py()
users_at_once = max(SCORES_AT_ONCE // items, 1)
model = SASRecModel(
    n_factors=width, n_blocks=layers, n_heads=heads, session_max_len=history, loss="BCE", get_trainer_func=one_batch
)
model.fit(read_dataset())
for _ in sys.stdin:
    dataset = read_dataset()
    users = dataset.user_id_map.external_ids
    lists = [
        model.recommend(users[first : first + users_at_once], dataset, k=n, filter_viewed=True)
        for first in range(0, len(users), users_at_once)
    ]
    pd.concat(lists).to_parquet(folder / "rectools.parquet", index=False)
    print("solved", flush=True)
