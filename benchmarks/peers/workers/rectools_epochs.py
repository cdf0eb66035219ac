"""RecTools' SASRec (variant 0) and, with LiGR layers, its eSASRec (1); trained an epoch per line of stdin."""

import numpy as np
import pandas as pd
import torch
from epochs import CHECKED, end_turn, read_job, save_vectors, wait_for_turn
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers
from rectools.models.nn.transformers.sasrec import SASRecTransformerLayers

UNLISTED = -1e9  # a score

job = read_job()
task, num_users = job.task, len(job.sequences)
torch.set_num_threads(task["threads"])
torch.manual_seed(task["seed"])


class Turns(Callback):
    def on_train_epoch_start(self, trainer, module):
        wait_for_turn()

    def on_train_epoch_end(self, trainer, module):
        end_turn(job)


def make_trainer():
    """As the package makes its own, with turns."""
    return Trainer(
        max_epochs=job.epochs, min_epochs=job.epochs, accelerator="cpu", devices=1, precision=task["precision"],
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[Turns()],
    )  # fmt: skip


lengths = [len(events) for events in job.sequences]
interactions = pd.DataFrame({
    Columns.User: np.repeat(np.arange(num_users), lengths), Columns.Item: np.concatenate(job.sequences),
    Columns.Weight: 1.0,
    Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(sum(lengths)), unit="s"),
})  # fmt: skip
dataset = Dataset.construct(interactions)
model = SASRecModel(
    n_blocks=task["layers"], n_heads=task["heads"], n_factors=task["width"], dropout_rate=task["dropout"],
    session_max_len=task["length"], loss="sampled_softmax" if task["negatives"] else "softmax",
    n_negatives=max(task["negatives"], 1), lr=task["learning_rate"], batch_size=task["batch_size"],
    transformer_layers_type=LiGRLayers if job.variant else SASRecTransformerLayers, get_trainer_func=make_trainer,
)  # fmt: skip
model.fit(dataset)

prepare, module = model.data_preparator, model.lightning_model
users = np.arange(num_users)
asked = prepare.transform_dataset_u2i(dataset, users)
loader = prepare.get_dataloader_recommend(asked, task["batch_size"])
users_UD, items_VD = (vectors.numpy() for vectors in module._get_user_item_embeddings(loader, "cpu"))
places_U = asked.user_id_map.convert_to_internal(users)
# The package knows the items of the latest events alone, and lists no other: one more coordinate says so
nums_V = np.arange(1, task["num_items"] + 1)
is_known_V = np.isin(nums_V, prepare.item_id_map.external_ids)
vectors_VD = np.zeros((len(nums_V), items_VD.shape[1] + 1), dtype=items_VD.dtype)
vectors_VD[is_known_V, :-1] = items_VD[prepare.item_id_map.convert_to_internal(nums_V[is_known_V])]
vectors_VD[~is_known_V, -1] = UNLISTED
users_UD = np.pad(users_UD[places_U], ((0, 0), (0, 1)), constant_values=1)
listed = model.recommend(users[:CHECKED], dataset, k=task["num_items"], filter_viewed=False)
by_item = listed.pivot(index=Columns.User, columns=Columns.Item, values=Columns.Score)
own_scores = by_item.reindex(columns=nums_V, fill_value=UNLISTED).to_numpy()
num_targets = sum(int((batch["y"] != 0).sum()) for batch in prepare.get_dataloader_train())
num_weights = sum(weights.numel() for weights in module.torch_model.parameters())
save_vectors(job, users_UD, vectors_VD, own_scores, num_targets=num_targets, num_weights=num_weights)
