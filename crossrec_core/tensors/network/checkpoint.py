"""A model and what it was made for in, a folder out, and back (IO).

weights.safetensors, item_inputs.safetensors (text vectors and attributes), config.json, model.json with the id
fingerprint; for a model that is scored also vectors_VD.safetensors and the ranker. Whoever scores needs the folder
and nothing else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.probability.ranker import Ranker, load_ranker, save_ranker

VECTORS_FILE = "vectors_VD.safetensors"
# What the item table reads and does not learn: saved once, beside the weights
ITEM_INPUTS = ("text_vectors_IK", "attribute_nums_IA", "attribute_weights_IA")


@dataclass(frozen=True)
class About:
    """model.json: what the weights are. ``settings`` holds what they were fitted with, the epochs found included."""

    kind: str
    model: str
    domain: str
    domain_num: int
    id_fingerprint: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model, on the CPU and in evaluation mode."""

    model: SequenceModel
    about: About
    ranker: Ranker | None


def save_checkpoint(
    path: str, model: SequenceModel, about: About, *, candidates_V: Tensor | None = None, ranker: Ranker | None = None
) -> None:
    """Write a folder (path or URL), all or nothing; with ``candidates_V`` (item numbers) also their vectors [V, D]."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replace_folder(path) as staging:
        save_file(weights, staging / "weights.safetensors")
        save_file({name: getattr(model.items, name).cpu() for name in ITEM_INPUTS}, staging / "item_inputs.safetensors")
        if candidates_V is not None:
            save_file({"vectors_VD": precompute_vectors(model, candidates_V)}, staging / VECTORS_FILE)
        if ranker is not None:
            save_ranker(staging, ranker)
        write_json(staging / "config.json", asdict(model.config))
        write_json(staging / "model.json", asdict(about))


def load_checkpoint(path: str, *, id_fingerprint: str | None = None, num_items: int | None = None) -> Checkpoint:
    """Read what ``save_checkpoint`` wrote.

    ``id_fingerprint`` is that of today's ids up to the largest number the checkpoint knows; None takes any. With
    ``num_items`` the item table grows to today's size: ids are append-only, new ones get zero rows.

    Raises CheckpointError for another fingerprint, a shrunken item table, and a folder that is missing or broken.
    """
    with open_folder(path) as folder:
        about = About(**read_json(folder / "model.json"))
        if id_fingerprint is not None and id_fingerprint != about.id_fingerprint:
            raise CheckpointError(
                f"{path}: trained on item table {about.id_fingerprint[:8]}, this run has {id_fingerprint[:8]}; "
                f"run jobs/{'pretrain' if about.model == 'pretrained' else 'finetune'}.py again"
            )
        return Checkpoint(_load_model(folder, path, num_items), about, load_ranker(folder))


def load_about(path: str) -> About:
    """Only model.json."""
    with open_folder(path) as folder:
        return About(**read_json(folder / "model.json"))


def precompute_vectors(model: SequenceModel, nums_V: Tensor, *, block_items: int = 65_536) -> Tensor:
    """The candidates' item vectors, float32 [V, D] on the CPU, a block at a time."""
    device = model.items.ids.device
    vectors_VD = torch.empty(len(nums_V), model.config.width)
    with torch.no_grad():
        for lo in range(0, len(nums_V), block_items):
            vectors_VD[lo : lo + block_items] = model.item_vectors(nums_V[lo : lo + block_items].to(device))
    return vectors_VD


def _load_model(folder: Path, path: str, num_items: int | None) -> SequenceModel:
    weights = read_tensors(folder / "weights.safetensors")
    try:
        config = ModelConfig(**read_json(folder / "config.json"))
    except TypeError as error:
        raise CheckpointError(f"{path}: its config.json is of another release; run jobs/pretrain.py again") from error
    if num_items is not None and num_items < config.num_items:
        raise CheckpointError(
            f"{path}: trained on {config.num_items} items, this run has {num_items}; run jobs/pretrain.py again"
        )
    inputs = read_tensors(folder / "item_inputs.safetensors")
    if num_items is not None and num_items > config.num_items:
        extra = num_items - config.num_items
        weights["items.ids"] = torch.nn.functional.pad(weights["items.ids"], (0, 0, 0, extra))
        inputs = {name: torch.nn.functional.pad(values, (0, 0, 0, extra)) for name, values in inputs.items()}
        config = ModelConfig(**{**asdict(config), "num_items": num_items})
    with torch.device("meta"):
        model = SequenceModel(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its config.json; run jobs/pretrain.py again") from error
    for name in ITEM_INPUTS:
        setattr(model.items, name, inputs[name])
    return model.eval()
