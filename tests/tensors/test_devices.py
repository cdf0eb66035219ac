import pytest
import torch

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.devices import autocast, pick_device

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
