"""The numbers of positions and items in, the peak memory of the whole softmax's loss and gradients out, in MiB.

A process of its own: what it held most at any time, less what it held before. The logits that the loss would have as a
matrix are held against it: torch's own loss keeps them, their logarithms and their gradient.
"""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from crossrec_core.tensors.devices import autocast
from crossrec_core.tensors.training.losses import full_softmax

MIB = 2**20
CPU = torch.device("cpu")


def measure_loss_memory(*, positions: int, items: int, width: int, threads: int) -> dict[str, float]:
    """Peak MiB of the loss, forward and backward, MiB of the logits in float32, and the one as a share of the other."""
    words = [str(word) for word in (positions, items, width, threads)]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    peak_mib, logits_mib = float(json.loads(done.stdout)), positions * items * 4 / MIB
    return {"positions": positions, "items": items, "width": width, "peak_mib": round(peak_mib, 1),
            "logits_mib": round(logits_mib, 1), "share": round(peak_mib / logits_mib, 4)}  # fmt: skip


def peak_of_loss(positions: int, items: int, width: int, threads: int) -> float:
    """MiB that one loss and its gradients take at most, the gradients included, queries and item vectors not."""
    torch.set_num_threads(threads)
    differentiate(*made_problem(64, 64, width))  # what the libraries take once is not the loss's
    problem = made_problem(positions, items, width)
    before = psutil.Process().memory_info().rss
    differentiate(*problem)
    return peak_mib() - before / MIB


def made_problem(positions: int, items: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [P, D] and item vectors [V, D], both to be differentiated by, and the targets' places [P]."""
    generator = torch.Generator().manual_seed(0)
    queries_PD = torch.randn(positions, width, generator=generator).requires_grad_()
    vectors_VD = torch.randn(items, width, generator=generator).mul_(0.1).requires_grad_()
    return queries_PD, vectors_VD, torch.randint(items, (positions,), generator=generator)


def differentiate(queries_PD: Tensor, vectors_VD: Tensor, places_P: Tensor) -> None:
    """The loss as training takes it, and its gradients."""
    with autocast(CPU, bf16=True):
        loss = full_softmax(queries_PD, vectors_VD, places_P)
    loss.backward()  # type: ignore[no-untyped-call]


def peak_mib() -> float:
    """Most that this process held at any time; ``getrusage`` would count the process that started it too (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(peak_of_loss(*(int(word) for word in sys.argv[1:]))))
