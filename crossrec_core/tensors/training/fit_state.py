"""A fit between two epochs in, a folder out, and back: what training goes on from after a kill (IO).

state.safetensors holds weights, the optimisers' moments, the best weights so far and the moving average, by dotted
names; state.json the counters, and what the fit was made with: another fit's state is no start.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from crossrec_core.tensors.folders import has_file, open_folder, read_json, read_tensors, replace_folder, write_json
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.training.averaging import WeightAverage

ABOUT, TENSORS = "state.json", "state.safetensors"
ROW_LOG_DECAY = "average.row_log_decay"


@dataclass(frozen=True)
class FitState:
    """What a fit knows after ``epoch``; tensors are the fit's own until they are saved."""

    epoch: int
    num_steps: int
    best_epoch: int
    best_value: float
    tensors: dict[str, Tensor]
    average: WeightAverage | None  # without its tensors once it was saved


def capture(
    model: SequenceModel, optimisers: Sequence[Optimizer], average: WeightAverage | None, *, epoch: int, num_steps: int,
    best_epoch: int, best_value: float, best_weights: Mapping[str, Tensor] | None,
) -> FitState:  # fmt: skip
    """The state after an epoch."""
    tensors = {f"weights.{name}": value for name, value in model.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for parameter, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{parameter}.{name}": value for name, value in moments.items()}
    tensors |= {f"best.{name}": value for name, value in (best_weights or {}).items()}
    if average is not None:
        tensors |= {f"average.weights.{name}": value for name, value in average.weights.items()}
        tensors[ROW_LOG_DECAY] = average.row_log_decay_I
    return FitState(epoch, num_steps, best_epoch, best_value, tensors, average)


def put_back(
    state: FitState, model: SequenceModel, optimisers: Sequence[Optimizer]
) -> tuple[dict[str, Tensor] | None, WeightAverage | None]:  # fmt: skip
    """Overwrite model and optimisers by the state's; returns the best weights and the average."""
    device = model.items.ids.device
    model.load_state_dict(_below("weights.", state.tensors, device))
    for number, optimiser in enumerate(optimisers):
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(f"optimiser.{number}.", state.tensors, torch.device("cpu")).items():
            parameter, _, moment = name.partition(".")
            moments.setdefault(int(parameter), {})[moment] = value
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    average = state.average and replace(
        state.average, weights=_below("average.weights.", state.tensors, device),
        row_log_decay_I=state.tensors[ROW_LOG_DECAY].to(device),
    )  # fmt: skip
    return _below("best.", state.tensors, device) or None, average


def save_state(path: str, state: FitState, *, made_with: str, log: Sequence[Mapping[str, Any]]) -> None:
    """Write the folder (path or URL), all or nothing; ``log`` is kept for who goes on."""
    about = {
        "made_with": made_with, "epoch": state.epoch, "num_steps": state.num_steps, "best_epoch": state.best_epoch,
        "best_value": None if state.best_value == -math.inf else state.best_value, "log": list(log),
        "average": None if state.average is None else
        {"decay": state.average.decay, "num_steps": state.average.num_steps, "log_decay": state.average.log_decay},
    }  # fmt: skip
    with replace_folder(path) as staging:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}, staging / TENSORS)
        write_json(staging / ABOUT, about)


def load_state(path: str, *, made_with: str) -> tuple[FitState, list[dict[str, Any]]] | None:
    """What ``save_state`` wrote with the same ``made_with``; None where there is no such state."""
    if not has_file(path, ABOUT):
        return None
    with open_folder(path) as folder:
        about = read_json(folder / ABOUT)
        if about["made_with"] != made_with:
            return None
        tensors = {name: value.clone() for name, value in read_tensors(folder / TENSORS).items()}
    average = about["average"] and WeightAverage({}, tensors[ROW_LOG_DECAY], **about["average"])
    best_value = -math.inf if about["best_value"] is None else about["best_value"]
    state = FitState(about["epoch"], about["num_steps"], about["best_epoch"], best_value, tensors, average or None)
    return state, about["log"]


def _below(prefix: str, tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value.to(device) for name, value in tensors.items() if name.startswith(prefix)}
