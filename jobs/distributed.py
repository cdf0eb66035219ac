"""A fit in, its model out, trained by several processes at once: one copy of the network each, one batch among them.

Spark's TorchDistributor starts them: on this machine where Spark is local, else as one barrier stage of executors,
which need this repository on their PYTHONPATH. A killed process ends the others; all are started again and go on from
the last epoch (``train``'s progress).
"""

import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from pyspark import cloudpickle
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from crossrec_core.errors import CrossRecError
from crossrec_core.settings import Settings
from crossrec_core.tensors.devices import set_up_cpu
from crossrec_core.tensors.network.encoder import SequenceModel
from jobs.ground import Ground
from jobs.training import TOLD, Trained

ROOT = Path(__file__).resolve().parents[1]
RESTARTS = 2
TAIL = 300  # characters of the last line that a rank printed, for the error

Fit = Callable[..., tuple[SequenceModel, Trained]]


def train_on_ranks(fit: Fit, settings: Settings, ground: Ground, model: SequenceModel, *args: Any) -> Trained:
    """``fit(settings, ground, *args)`` on ``train.num_processes`` ranks; ``model`` gets the weights that it gives.

    Raises:
        CrossRecError: the ranks' own, or they died again and again.
    """
    master = str(SparkSession.active().sparkContext.master)
    is_local = master == "local" or master.startswith("local[")
    number, is_gpu = count_ranks(settings, ground), ground.device.type == "cuda"
    threads = settings.train.threads or (max(1, torch.get_num_threads() // number) if is_local else 1)
    packed = cloudpickle.dumps((fit, settings, ground, args))
    distributor = TorchDistributor(num_processes=number, local_mode=is_local, use_gpu=is_gpu)
    for attempt in range(1 + RESTARTS):
        try:
            with _importable(), redirect_stdout(Told()):
                outcome: Any = distributor.run(run_rank, packed, threads)
            break
        except Exception as error:  # TorchDistributor wraps whatever a rank ended with
            if attempt == RESTARTS:
                last = str(error).strip().splitlines()[-1][:TAIL] if str(error).strip() else type(error).__name__
                raise CrossRecError(
                    f"train.num_processes = {number}: the processes ended {1 + RESTARTS} times before they were done "
                    f"({last}); too little memory? set it lower, then start the step again: it goes on"
                ) from error
            print(f"{TOLD}a training process ended; starting again from the last epoch", file=sys.stderr, flush=True)
    weights, trained, refused = outcome
    if refused is not None:
        raise CrossRecError(refused)
    model.load_state_dict(safetensors.torch.load(weights))
    done: Trained = trained
    return done


def count_ranks(settings: Settings, ground: Ground) -> int:
    """``train.num_processes``, or fewer: every rank reads files of its own."""
    return min(settings.train.num_processes, len(ground.files))


def run_rank(packed: bytes, threads: int) -> tuple[bytes, Trained | None, str | None]:
    """What every process runs: the weights and outcome, or why the fit refused."""
    set_up_cpu(threads)
    fit, settings, ground, args = pickle.loads(packed)
    if ground.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        ground = replace(ground, device=torch.device("cuda", int(os.environ["LOCAL_RANK"])))
    dist.init_process_group("nccl" if ground.device.type == "cuda" else "gloo")
    try:
        model, trained = fit(settings, ground, *args)
        dist.barrier()  # a rank that tears its connections down while another still uses them can abort it
    except CrossRecError as error:
        return b"", None, str(error)
    finally:
        dist.destroy_process_group()
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return safetensors.torch.save(weights), trained, None


class Told(io.TextIOBase):
    """Stands in for standard output while the ranks run: shows the lines that are for people, drops torchrun's."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.startswith(TOLD):
                print(line, file=sys.stderr, flush=True)
        return len(text)


@contextmanager
def _importable() -> Iterator[None]:
    """Processes that are started inside the block can import this repository, whoever started this one."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
