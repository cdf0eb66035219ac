import ctypes
import subprocess
import sys

import pytest
import torch

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.devices import autocast, pick_device, worker_threads

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("can", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False), ({}, False)],
)
def test_a_cpu_trains_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, can, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    with autocast(CPU, bf16=True):
        assert torch.is_autocast_enabled("cpu") == expected
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if expected else torch.float32)


def test_the_setting_turns_it_off(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    with autocast(CPU, bf16=False):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_says_what_to_do():
    assert pick_device("auto") == CPU
    with pytest.raises(CrossRecError, match="set train"):
        pick_device("cuda")


def test_a_worker_has_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [worker_threads(0, workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert worker_threads(3, 16) == 3


# A tensor of 64 MiB, made and freed twenty times: prints how many pages the last ten took
FAULTS = """
import resource, sys, torch
from crossrec_core.tensors.devices import set_up_cpu

def make():
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "set_up":
    set_up_cpu(1)
pages = [make() for _ in range(20)]
print(pages[-1] - pages[9])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_memory_of_freed_tensors_is_used_again():
    left, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("leave", "set_up")
    )
    assert kept < left / 10
