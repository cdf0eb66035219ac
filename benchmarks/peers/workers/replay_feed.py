"""RePlay's ParquetModule with its own shuffle; the files are read once per line of stdin."""

import os
import warnings

import torch
from feed_turns import answer, read_task
from replay.data.nn import ParquetModule

LENGTH = 50
task = read_task()
torch.set_num_threads(1)  # its documentation's advice, and Arrow has as many threads as there are cores
warnings.simplefilter("ignore")
columns = {name: {} for name in ("user_num", "domain_num", "split_num", "weight")}
data = ParquetModule(
    batch_size=task.batch_size, metadata={"train": {"items": {"shape": LENGTH, "padding": 0}, **columns}},
    transforms={"train": []}, config={"train": {"generator": torch.Generator().manual_seed(0)}},
    train_path=os.fspath(task.folder),
)  # fmt: skip


def read():
    data.setup("fit")
    yield from data.train_dataloader()


answer(task, read)
