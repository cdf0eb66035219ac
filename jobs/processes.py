"""Fits that do not need one another in, their results out: several processes at once, each with its share of threads.

Two processes of one thread train small networks half again as fast as one process of two (docs/decisions/015).
"""

import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

import psutil
import torch
from tqdm import tqdm

from crossrec_core.errors import CrossRecError
from crossrec_core.settings import Settings
from crossrec_core.tensors.devices import set_up_cpu
from crossrec_core.tensors.training.sizes import describe_memory
from jobs.ground import Ground

PROCESS_BYTES = 700_000_000  # Python with torch, Spark's client and Arrow, before it holds anything
MEMORY_SHARE = 0.7  # of what is free now

T = TypeVar("T")


def run_fits(
    fit: Callable[..., T], settings: Settings, ground: Ground, tasks: Sequence[tuple[Any, ...]], *, label: str
) -> list[T]:
    """``fit(settings, ground, *task)`` for every task, in their order; ``fit`` is a function of a module.

    Raises:
        CrossRecError: a process was killed; or what a fit raised. Fits that have not begun are left out.
    """
    processes = count_processes(settings, ground, len(tasks))
    if processes == 1:
        return [fit(settings, ground, *task) for task in tasks]
    packed = pickle.dumps((settings, ground))
    threads = max(1, torch.get_num_threads() // processes)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        futures = [pool.submit(_run_packed, fit, packed, threads, task) for task in tasks]
        try:
            for done in tqdm(as_completed(futures), total=len(tasks), desc=label, unit="fit", disable=None):
                done.result()
        except BrokenProcessPool as error:
            raise CrossRecError(
                f"{label}: a process was killed (too little memory?); set train.parallel_fits below {processes}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]


def count_processes(settings: Settings, ground: Ground, num_tasks: int) -> int:
    """``train.parallel_fits``; where that is 0: one on a GPU, else one per core, as far as free memory goes."""
    if settings.train.parallel_fits:
        return max(1, min(settings.train.parallel_fits, num_tasks))
    if ground.device.type != "cpu" or num_tasks < 2:
        return 1
    free = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(num_tasks, torch.get_num_threads(), int(free // _bytes_of_a_fit(settings, ground))))


def end_with_parent() -> None:
    """Make this worker process end when the one that started it does: a killed parent must leave nothing running."""
    parent = parent_process()
    assert parent is not None, "only a worker process has a parent to watch"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _bytes_of_a_fit(settings: Settings, ground: Ground) -> int:
    """What a process holds: itself, the ground, a model in training and its best weights so far."""
    largest = max((len(nums) for nums in ground.candidates.items.values()), default=1)
    sampled = largest > settings.model.full_softmax_items
    memory = describe_memory(
        ground.config, batch_size=settings.train.target_only.batch_size,
        num_candidates=settings.model.num_negatives if sampled else largest,
    )  # fmt: skip
    held = (value.nbytes for rows in ground.held_out.values() for value in rows.columns.values())
    return PROCESS_BYTES + sum(held) + memory.training_bytes + memory.frozen_bytes + memory.weight_bytes


def _run_packed(fit: Callable[..., T], packed: bytes, threads: int, task: tuple[Any, ...]) -> T:
    set_up_cpu(threads)
    settings, ground = pickle.loads(packed)
    return fit(settings, ground, *task)
