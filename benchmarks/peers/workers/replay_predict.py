"""Histories on disk in, a Spark frame of lists on disk out by RePlay's SasRec: made once per line of stdin."""

import logging
import sys
import warnings
from pathlib import Path

import lightning
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from replay.data import FeatureHint, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import SparkTopItemsCallback
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms
from replay.utils.session_handler import get_spark_session

BATCH_USERS = 256  # the fastest of 32, its example's, to 1,024
USERS_AT_ONCE = 50_000  # their lists are Python's numbers on the driver: above 13 GiB for 200,000 users

folder, n = Path(sys.argv[1]), int(sys.argv[2])
threads, width, layers, heads, history, memory_gib = (int(argument) for argument in sys.argv[3:])
torch.set_num_threads(threads)
warnings.filterwarnings("ignore")  # Lightning's, about loaders and loggers
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
item_ids = pq.read_table(folder / "interactions.parquet", columns=["item_id"])["item_id"]
items, seen = 1 + pc.max(item_ids).as_py(), len(pq.read_table(folder / "histories.parquet")["seen_ids"][0])
spark = get_spark_session(spark_memory=memory_gib, core_count=threads)
schema = TensorSchema(
    TensorFeatureInfo(
        "item_id", FeatureType.CATEGORICAL, is_seq=True, padding_value=items, cardinality=items, embedding_dim=width,
        feature_hint=FeatureHint.ITEM_ID,
    )
)  # fmt: skip
body = SasRec.from_params(
    schema, embedding_dim=width, num_heads=heads, num_blocks=layers, max_sequence_length=history
)  # fmt: skip
model = LightningModule(body).eval()
columns = {"user_id": {}, "item_id": {"shape": history, "padding": items}, "seen_ids": {"shape": seen, "padding": -1}}
everyone = pq.read_table(folder / "histories.parquet")
parts = [folder / f"histories_{number}.parquet" for number in range(-(-len(everyone) // USERS_AT_ONCE))]
for number, part in enumerate(parts):
    pq.write_table(everyone.slice(number * USERS_AT_ONCE, USERS_AT_ONCE), part)
del everyone


def predict(part: Path, mode: str) -> None:
    """Lists of some users, as RePlay's documentation makes them."""
    histories = ParquetModule(
        batch_size=BATCH_USERS, metadata={"predict": columns}, transforms=make_default_sasrec_transforms(schema),
        predict_path=str(part),
    )  # fmt: skip
    best = SparkTopItemsCallback(
        n, query_column="user_id", item_column="item_id", rating_column="score", spark_session=spark,
        postprocessors=[SeenItemsFilter(items)],
    )  # fmt: skip
    trainer = lightning.Trainer(
        callbacks=[best], inference_mode=True, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.predict(model, datamodule=histories, return_predictions=False)
    best.get_result().write.mode(mode).parquet(str(folder / "replay"))


for _ in sys.stdin:
    for number, part in enumerate(parts):
        predict(part, "append" if number else "overwrite")
    print("solved", flush=True)
