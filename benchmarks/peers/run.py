"""A prepared run in, users' measures of outside models out: exported, fitted by workers, measured by us (IO).

What a worker tuned and listed stays in the lake's folder: killed and started again, what is missing is made.
"""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from benchmarks.peers.environments import peer_python
from benchmarks.peers.exchange import measure_lists, read_lists, read_seconds, write_problem
from benchmarks.peers.registry import PEERS
from crossrec_core.errors import InputError
from crossrec_core.settings import Settings
from jobs.steps import Night

TRIALS, MINUTES = 20, 30.0  # of a model and domain, whichever ends first: what the product's baselines get


def peer_user_metrics(
    peers: Sequence[str], settings: Settings, night: Night, spark: SparkSession, *, environments: Path, lists: list[int]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measures of the peers' lists for every user with truth, and what is known of each fit: by peer and domain.

    The columns are those of user_metrics: model, domain, user_id, segment, metric, n and value. Tuning is done with
    the first seed that comes, once per peer and domain.
    """
    folder = Path(settings.lake.path, "peers")
    listed, about = [], {}
    for domain in settings.targets:
        problem = folder / f"{domain}.npz"
        if not problem.exists():
            write_problem(settings, night, domain, problem)
        for peer in peers:
            started = time.monotonic()
            found = fit_peer(peer, domain, folder, environments, seed=settings.train.seed, n=max(lists))
            print(f"[{night.run_id}] {peer}, {domain}: {time.monotonic() - started:.0f} s", flush=True)
            tuned = json.loads(options_file(peer, domain, folder).read_text(encoding="utf-8"))
            about[f"{peer}.{domain}"] = {
                "package": PEERS[peer].requirements[0], "options": tuned["options"], "valid_ndcg": tuned["ndcg"],
                "trials": len(tuned["trials"]), "tuning_seconds": sum(trial["seconds"] for trial in tuned["trials"]),
                "seconds": read_seconds(found),
            }  # fmt: skip
            listed.append(read_lists(problem, found, model=peer, domain=domain))
    return measure_lists(pd.concat(listed, ignore_index=True), night, spark, lists=lists), about


def fit_peer(peer: str, domain: str, folder: Path, environments: Path, *, seed: int, n: int) -> Path:
    """The file of a peer's lists for a domain and seed; a worker makes it unless it is there.

    Raises:
        InputError: the worker failed; the message names its log.
    """
    lists, partial = folder / f"{domain}-{peer}-{seed}.npz", folder / f"{domain}-{peer}-{seed}.part.npz"
    if lists.exists():
        return lists
    package = PEERS[peer]
    python = peer_python(package.name, package.requirements, environments)
    command = [
        str(python), str(package.worker), "--model", peer.partition("_")[2], "--problem", str(folder / f"{domain}.npz"),
        "--lists", str(partial), "--options", str(options_file(peer, domain, folder)), "--seed", str(seed),
        "--n", str(n), "--trials", str(TRIALS), "--minutes", str(MINUTES),
    ]  # fmt: skip
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # implicit's advice: it has threads of its own
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **one_thread})
    if done.returncode:
        log = folder / f"{domain}-{peer}-{seed}.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        raise InputError(f"{peer}, {domain}: its worker ended with {done.returncode}; read {log}")
    partial.rename(lists)
    return lists


def options_file(peer: str, domain: str, folder: Path) -> Path:
    """Where a worker keeps what it tuned."""
    return folder / f"{domain}-{peer}.json"
