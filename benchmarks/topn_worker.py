"""One core's share of benchmarks/topn_kernel.py, as one of Spark's workers has it: solved once per line of stdin.

The last argument is 1 for the compressed search, 0 for the exact one.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.topn_kernel import Problem, compress, select, select_compressed
from crossrec_core.tensors.devices import set_up_cpu

folder, n, part, num_parts, is_compressed = Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:])
set_up_cpu(1)
# Woken together, all would start on the core of whoever woke them, and move apart after some milliseconds only
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[part % len(cores)]})
queries_BD, items_VD, seen_BS = (
    torch.from_numpy(np.load(folder / f"{name}.npy")).clone() for name in ("queries", "items", "seen")
)
problem = Problem(queries_BD.tensor_split(num_parts)[part], items_VD, seen_BS.tensor_split(num_parts)[part], n)
small = compress(problem) if is_compressed else None
for _ in sys.stdin:
    for batch in problem.batches():
        _ = select(batch) if small is None else select_compressed(batch, small)
    print("solved", flush=True)
