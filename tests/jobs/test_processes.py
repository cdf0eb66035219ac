"""Fits side by side: what comes back, what is raised, and how many processes there are."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from crossrec_core.config import read_config
from crossrec_core.errors import CrossRecError
from jobs import processes
from jobs.processes import count_processes, run_fits
from tests.tensors.worlds import config


def tell(settings, ground, *task):
    return ground, *task, torch.get_num_threads()


def fail(settings, ground, task):
    raise CrossRecError(f"{task}: no events")


def die(settings, ground, task):
    os._exit(9)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "some.toml").write_text('[domains.shop]\npath = "shop.csv"\n')
    return read_config(tmp_path / "some.toml")


def with_processes(settings, number):
    return replace(settings, train=replace(settings.train, parallel_fits=number))


def test_results_come_in_the_order_of_the_tasks_whatever_the_processes(settings, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    tasks = [(f"t{number}", number) for number in range(5)]
    found = {number: run_fits(tell, with_processes(settings, number), "g", tasks, label="x") for number in (1, 2)}

    assert (
        [result[:3] for result in found[1]] == [result[:3] for result in found[2]] == [("g", *task) for task in tasks]
    )
    assert {result[3] for result in found[2]} == {2}  # four threads shared by two


def test_what_a_fit_raises_is_raised(settings):
    with pytest.raises(CrossRecError, match="t1: no events"):
        run_fits(fail, with_processes(settings, 2), "g", [("t1",), ("t1",)], label="x")


def test_a_killed_process_is_told(settings):
    with pytest.raises(CrossRecError, match=r"finetune: a process was killed .* set train\.parallel_fits below 2"):
        run_fits(die, with_processes(settings, 2), "g", [("t1",), ("t2",)], label="finetune")


@pytest.mark.parametrize(
    ("device", "free", "num_tasks", "expected"),
    [("cpu", 1e12, 8, 4), ("cpu", 1e12, 3, 3), ("cpu", 1e12, 1, 1), ("cuda", 1e12, 8, 1), ("cpu", 2.1e9, 8, 2),
     ("cpu", 1e6, 8, 1)],
)  # fmt: skip
def test_there_are_as_many_processes_as_cores_tasks_and_memory_allow(
    settings, monkeypatch, device, free, num_tasks, expected
):
    monkeypatch.setattr(processes, "psutil", SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=free)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    nums = torch.arange(1, 20)
    ground = SimpleNamespace(
        device=torch.device(device), candidates=SimpleNamespace(items={1: nums}), held_out={}, config=config()
    )

    assert count_processes(settings, ground, num_tasks) == expected
    assert count_processes(with_processes(settings, 2), ground, num_tasks) == min(2, num_tasks)
