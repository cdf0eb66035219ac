"""A device's name in, the device out; how training runs on it, and how a process uses its CPU."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from crossrec_core.errors import CrossRecError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEPT_BYTES = 2**28  # blocks up to this size are kept, and as much free memory at the heap's end


def pick_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one. Raises CrossRecError for ``cuda`` where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise CrossRecError("train.device: cuda, but torch sees no GPU; set train.device = 'auto' or install a driver")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, *, bf16: bool) -> AbstractContextManager[object]:
    """bfloat16 autocast where the device multiplies bfloat16 faster than float32; elsewhere nothing."""
    if bf16 and _has_fast_bf16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def as_multiplied(values: Tensor) -> Tensor:
    """In autocast's type where that is on, at least float32 elsewhere: cast once what several products read."""
    device = values.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # meta has none
        if values.dtype == torch.float16:
            values = values.float()  # straight from half to bfloat16 takes torch twice as long on a CPU
        return values.to(torch.get_autocast_dtype(device))
    return values.to(torch.promote_types(values.dtype, torch.float32))


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """For what bfloat16 has no kernel for."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()


def set_up_cpu(threads: int) -> None:
    """What a process does before it computes: so many threads for torch, and memory of freed tensors is kept.

    glibc gives large blocks back to the kernel as soon as they are free, and has each page of the next tensor handed
    out anew: half the time of encoding users (docs/speed_experiments.md). Other C libraries are left as they are.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def worker_threads(asked: int, workers_per_host: int) -> int:
    """The threads of one of several workers that share a machine: as many as asked for; 0 is a share of the cores."""
    return asked or max(1, (os.cpu_count() or 1) // workers_per_host)


def _has_fast_bf16(device: torch.device) -> bool:
    """GPUs since Ampere, CPUs with AVX-512 BF16 (AMD since Zen 4, Intel since Cooper Lake) or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    can = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(can.get("avx512_bf16") or can.get("amx_bf16"))
