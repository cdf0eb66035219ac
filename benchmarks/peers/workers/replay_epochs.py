"""RePlay's SasRec (variant 0), and with rows of like length encoded together (1); an epoch per line of stdin."""

import os

import lightning
import numpy as np
import pandas as pd
import torch
from epochs import CHECKED, end_turn, padded, read_job, save_vectors, wait_for_turn
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.loss import CESampled
from replay.nn.sequential import LengthBucketedQueryEncoder, SasRec
from replay.nn.transform import UniformNegativeSamplingTransform
from replay.nn.transform.template import make_default_sasrec_transforms

ROWS_OF_LIKE_LENGTH = 32
job = read_job()
task, num_items = job.task, job.task["num_items"]  # padding is the number after the last item's
torch.set_num_threads(task["threads"])
torch.manual_seed(task["seed"])


class Turns(lightning.Callback):
    def on_train_epoch_start(self, trainer, module):
        wait_for_turn()

    def on_train_epoch_end(self, trainer, module):
        end_turn(job)


item_id = TensorFeatureInfo(
    "item_id", is_seq=True, feature_type=FeatureType.CATEGORICAL, embedding_dim=task["width"], padding_value=num_items,
    cardinality=num_items, feature_hint=FeatureHint.ITEM_ID,
    feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
)  # fmt: skip
schema = TensorSchema([item_id])
sasrec = SasRec.from_params(
    schema, embedding_dim=task["width"], num_heads=task["heads"], num_blocks=task["layers"],
    max_sequence_length=task["length"], dropout=task["dropout"],
)  # fmt: skip
transforms = make_default_sasrec_transforms(schema)
if task["negatives"]:
    sasrec.loss = CESampled(ignore_index=num_items)
    sasrec.loss.logits_callback = sasrec.get_logits
    transforms["train"].append(UniformNegativeSamplingTransform(num_items, task["negatives"]))
if job.variant:
    sasrec.body.encoder = LengthBucketedQueryEncoder(sasrec.body.encoder, ROWS_OF_LIKE_LENGTH)
path = str(job.folder / f"replay-{os.getpid()}.parquet")
pd.DataFrame({"item_id": [(events - 1).tolist() for events in job.sequences]}).to_parquet(path, index=False)
shape = {"item_id": {"shape": task["length"] + 1, "padding": num_items}}  # the transform takes one for the target
data = ParquetModule(
    batch_size=task["batch_size"], metadata={"train": shape}, transforms={"train": transforms["train"]},
    config={"train": {"generator": torch.Generator().manual_seed(task["seed"]),
                      "partition_size": 1024 * task["batch_size"]}},
    train_path=path,
)  # fmt: skip
module = LightningModule(sasrec, optimizer_factory=OptimizerFactory(learning_rate=task["learning_rate"]))
trainer = lightning.Trainer(
    max_epochs=job.epochs, accelerator="cpu", devices=1, precision=task["precision"],
    logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    limit_val_batches=0, callbacks=[Turns()],
)  # fmt: skip
trainer.fit(module, data)

# The first event of a history with padding before it is a target too
num_targets = sum(int(batch["item_id_mask"][:, 1:].sum()) for batch in data.train_dataloader())
rows = padded(job.sequences, task["length"])
items_UL = torch.from_numpy(np.where(rows == 0, num_items, rows - 1))
sasrec.eval()
users, own_scores = [], []
with torch.no_grad():
    for items_BL in items_UL.split(task["batch_size"]):
        found = sasrec({"item_id": items_BL}, items_BL != num_items)
        users.append(found["hidden_states"][0][:, -1])
        own_scores.append(found["logits"][: CHECKED if not own_scores else 0])
    items_VD = sasrec.body.embedder.get_item_weights().numpy()[:num_items]
num_weights = sum(weights.numel() for weights in sasrec.parameters())
save_vectors(
    job, torch.cat(users).numpy(), items_VD, own_scores[0].numpy()[:, :num_items], num_targets=num_targets,
    num_weights=num_weights,
)  # fmt: skip
