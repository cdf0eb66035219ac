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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from crossrec_core.tensors.devices import autocast
from crossrec_core.tensors.losses import full_softmax

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
    generator = torch.Generator().manual_seed(0)
    queries_PD = torch.randn(positions, width, generator=generator).requires_grad_()
    vectors_VD = torch.randn(items, width, generator=generator).mul_(0.1).requires_grad_()
    places_P = torch.randint(items, (positions,), generator=generator)
    before = psutil.Process().memory_info().rss
    with autocast(CPU, bf16=True):
        loss = full_softmax(queries_PD, vectors_VD, places_P)
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors_VD.grad is not None
    assert bool(vectors_VD.grad.isfinite().all())
    return peak_mib() - before / MIB


def peak_mib() -> float:
    """Most that this process held at any time; ``getrusage`` would count the process that started it too (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(peak_of_loss(*(int(word) for word in sys.argv[1:]))))
