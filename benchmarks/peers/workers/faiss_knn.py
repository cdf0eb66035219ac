"""Top-N by faiss's exact search, solved once per line of stdin. It cannot leave seen items out: it asks for more."""

import sys
from pathlib import Path

import faiss
import numpy as np

folder, n, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
queries, items, seen = (np.load(folder / f"{name}.npy") for name in ("queries", "items", "seen"))
faiss.omp_set_num_threads(threads)
for _ in sys.stdin:
    faiss.knn(queries, items, n + seen.shape[1], metric=faiss.METRIC_INNER_PRODUCT)
    print("solved", flush=True)
