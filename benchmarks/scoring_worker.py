"""One core's share of benchmarks/scoring_job.py without Spark: users in memory, arrays out; once per line of stdin."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from crossrec_core import columns as c
from crossrec_core.config import DEFAULTS, read_config
from crossrec_core.tensors.inputs.user_batch import Ragged, UserBatch
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.ranked_lists import rank_batch
from crossrec_core.tensors.scoring.scorer import LoadModels, ModelFolder, load_models

folder, n, part, num_parts = Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:])
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[part % len(cores)]})  # woken together, all would start on one
rules = read_config(DEFAULTS, overrides={"domains": {"made": {"path": "made"}}}).score
with np.load(folder / "users.npz") as arrays:
    lists = {name: torch.from_numpy(arrays[name]).tensor_split(num_parts)[part] for name in arrays}
load = LoadModels(
    (folder / "candidates").read_text(), (ModelFolder(0, (folder / "model").read_text(), c.USER_SEGMENTS),),
    threads=1, workers_per_host=num_parts,
)  # fmt: skip
models = load_models(load)
domain_num = models[0].candidates.domain_num


def batch_at(start: int) -> UserBatch:
    """The users from ``start`` on, as many as a worker scores at a time."""
    own = {name: values[start : start + rules.batch_users] for name, values in lists.items()}
    seen_BS = own.pop(c.SEEN)
    rows_S = torch.arange(len(seen_BS)).repeat_interleave(seen_BS.shape[1])
    return UserBatch(
        np.empty(len(seen_BS), dtype=object), *own.values(), {domain_num: Ragged(rows_S, seen_BS.flatten())},
        {domain_num: torch.ones(len(seen_BS), dtype=torch.bool)},
    )  # fmt: skip


def check(batch: UserBatch) -> None:
    """Everyone has ``n`` different items that they do not know."""
    items_BN = rank_batch(batch, models, search=Search(n, rules.block_items))[c.ITEM_NUM].reshape(-1, n)
    seen_BS = batch.seen[domain_num].values_S.numpy().reshape(len(items_BN), -1)
    assert len(items_BN) == len(batch.user_ids_B), "some list is not whole"
    assert (np.diff(np.sort(items_BN)) > 0).all(), "an item is twice in a list"
    assert not (items_BN[:, :, None] == seen_BS[:, None, :]).any(), "an item in a list is known"


batches = [batch_at(start) for start in range(0, len(lists[c.SEEN]), rules.batch_users)]
for batch in batches:
    check(batch)
for _ in sys.stdin:
    for batch in batches:
        rank_batch(batch, models, search=Search(n, rules.block_items))
    print("solved", flush=True)
