"""Top-N by implicit's compiled search, as its recommenders and RecTools call it: solved once per line of stdin."""

import sys
from pathlib import Path

import numpy as np
from implicit.cpu.topk import topk
from scipy.sparse import csr_matrix

folder, n, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
queries, items, seen = (np.load(folder / f"{name}.npy") for name in ("queries", "items", "seen"))
starts = np.arange(0, seen.size + 1, seen.shape[1])
filtered = csr_matrix((np.ones(seen.size, dtype=np.float32), seen.ravel(), starts), shape=(len(queries), len(items)))
for _ in sys.stdin:
    topk(items, queries, n, filter_query_items=filtered, num_threads=threads)
    print("solved", flush=True)
