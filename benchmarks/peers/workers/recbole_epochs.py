"""RecBole's SASRec with its whole softmax; trained an epoch per line of stdin.

RecBole makes a row of every event: the events before it, and itself as the one target. So a step takes as many rows as
the steps of the others have targets, and an epoch has as many steps and targets as theirs.
"""

import os

import numpy as np
import torch
from epochs import CHECKED, end_turn, padded, read_job, save_vectors, wait_for_turn
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

job = read_job()
task, num_users = job.task, len(job.sequences)
torch.set_num_threads(task["threads"])
home = job.folder.resolve() / "recbole" / "log"
home.mkdir(parents=True, exist_ok=True)
with (home / "log.inter").open("w", encoding="utf-8") as file:
    file.write("user_id:token\titem_id:token\ttimestamp:float\n")
    for user, events in enumerate(job.sequences):
        file.writelines(f"u{user}\ti{item}\t{place}\n" for place, item in enumerate(events))
os.chdir(home.parent)  # it logs where it is
targets_per_step = max(sum(len(events) - 1 for events in job.sequences) * task["batch_size"] // num_users, 1)
config = Config(
    model="SASRec", dataset="log",
    config_dict={
        "data_path": str(home.parent), "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "none"},
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": task["length"], "n_layers": task["layers"], "n_heads": task["heads"],
        "hidden_size": task["width"], "inner_size": 4 * task["width"], "hidden_dropout_prob": task["dropout"],
        "attn_dropout_prob": task["dropout"], "loss_type": "CE", "train_neg_sample_args": None,
        "learning_rate": task["learning_rate"], "train_batch_size": targets_per_step, "epochs": job.epochs,
        "seed": task["seed"], "use_gpu": False, "enable_amp": task["precision"] == "bf16-mixed", "show_progress": False,
        "checkpoint_dir": str(home.parent / "saved"),
    },
)  # fmt: skip
init_seed(config["seed"], config["reproducibility"])
dataset, *_ = create_dataset(config).build()
batches = TrainDataLoader(config, dataset, None, shuffle=True)
model = SASRec(config, dataset).to(config["device"])
trainer = Trainer(config, model)
for epoch in range(job.epochs):
    wait_for_turn()
    trainer._train_epoch(batches, epoch, show_progress=False)
    end_turn(job)

model.eval()
own_nums = dataset.field2token_id["item_id"]
# It knows no item that only a last event names: that one is ranked with the vector of its empty place, zero
nums_V = np.array([own_nums.get(f"i{num}", 0) for num in range(1, task["num_items"] + 1)])
own_of = np.concatenate([[0], nums_V])
items_UL = torch.from_numpy(own_of[padded(job.sequences, task["length"])])
lengths_U = (items_UL != 0).sum(dim=1)
places_UL = torch.arange(task["length"]) + (task["length"] - lengths_U)[:, None]  # RecBole pads at the end
items_UL = items_UL.gather(1, places_UL.clamp(max=task["length"] - 1)) * (places_UL < task["length"])
with torch.no_grad():
    users_UD = torch.cat([
        model(items_BL, lengths_B)
        for items_BL, lengths_B in zip(items_UL.split(256), lengths_U.split(256), strict=True)
    ]).numpy()  # fmt: skip
    asked = {model.ITEM_SEQ: items_UL[:CHECKED], model.ITEM_SEQ_LEN: lengths_U[:CHECKED]}
    own_scores = model.full_sort_predict(asked).numpy()[:, nums_V]
items_VD = model.item_embedding.weight.detach().numpy()[nums_V]
num_weights = sum(weights.numel() for weights in model.parameters())
save_vectors(job, users_UD, items_VD, own_scores, num_targets=len(dataset), num_weights=num_weights)
