"""A device's name in, the device out; and how training runs on it."""

from contextlib import AbstractContextManager, nullcontext

import torch

from crossrec_core.errors import CrossRecError


def pick_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one. Raises CrossRecError for ``cuda`` where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise CrossRecError("train.device: cuda, but torch sees no GPU; set train.device = 'auto' or install a driver")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, *, bf16: bool) -> AbstractContextManager[object]:
    """bfloat16 autocast on a GPU that has it; elsewhere nothing, since CPUs without AMX only lose by it."""
    if bf16 and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
