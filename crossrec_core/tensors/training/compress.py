"""A trained model in, the same model in eight bits out: item vectors and linear maps, for scoring; and its folder (IO).

One scale per row (``int8``). Item vectors (id + text, already added) and the weights of linear maps are stored so; the
maps round their inputs row by row too (dynamic quantisation) and multiply whole numbers, which is exact, so a row's
result does not depend on its batch. Embeddings of domains, actions and gaps are small and stay as they are.

Our own few lines, because torch.ao.quantization is deprecated and leaves torch.

I item numbers (row 0 is padding), D width, F features in, O features out, R rows.
"""

from dataclasses import asdict
from typing import cast

import torch
from fsspec.core import url_to_fs
from safetensors.torch import save_file
from torch import Tensor, nn

from crossrec_core.errors import CheckpointError
from crossrec_core.lake import plain_uri
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json
from crossrec_core.tensors.network.checkpoint import About, Checkpoint, precompute_vectors
from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.probability.ranker import Ranker, load_ranker, save_ranker
from crossrec_core.tensors.retrieval.int8 import from_int8, to_int8


class Int8Items(nn.Module):
    """Item vectors by number, as ``ItemTable`` gives them, from an int8 table."""

    steps_ID: Tensor
    scale_I: Tensor

    def __init__(self, num_items: int, width: int) -> None:
        super().__init__()
        self.register_buffer("steps_ID", torch.zeros(num_items + 1, width, dtype=torch.int8))
        self.register_buffer("scale_I", torch.zeros(num_items + 1))

    def forward(self, nums: Tensor, hidden_I: Tensor | None = None, *, sparse: bool = False) -> Tensor:
        """Numbers of any shape [...] -> vectors [..., D]; it is not for training, so nothing can be hidden."""
        assert hidden_I is None, "an int8 table holds ids and text as one"
        return from_int8(self.steps_ID[nums], self.scale_I[nums])


class Int8Linear(nn.Module):
    """A linear map with int8 weights, one scale per output; inputs are rounded to int8, one scale per row."""

    steps_OF: Tensor
    scale_O: Tensor
    bias: Tensor | None

    def __init__(self, num_in: int, num_out: int, *, bias: bool) -> None:
        super().__init__()
        self.register_buffer("steps_OF", torch.zeros(num_out, num_in, dtype=torch.int8))
        self.register_buffer("scale_O", torch.zeros(num_out))
        self.register_buffer("bias", torch.zeros(num_out) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [..., F] -> outputs [..., O]."""
        steps_RF, scale_R = to_int8(x.reshape(-1, x.shape[-1]))
        if x.device.type == "cpu":
            sums_RO = torch._int_mm(steps_RF, self.steps_OF.T).float()
        else:  # torch's CUDA kernel takes some shapes only; float32 holds sums of up to 1,040 products exactly
            sums_RO = steps_RF.float() @ self.steps_OF.float().T
        y_RO = sums_RO * scale_R.unsqueeze(1) * self.scale_O
        return (y_RO if self.bias is None else y_RO + self.bias).view(*x.shape[:-1], -1)


def compress(model: SequenceModel) -> SequenceModel:
    """An int8 copy of a model, on the CPU and in evaluation mode; the model itself is left alone."""
    small = _int8_shape(model.config)
    small.load_state_dict(_int8_weights(model), assign=True)
    return small.eval()


def save_int8(path: str, small: SequenceModel, about: About, *, ranker: Ranker | None = None) -> None:
    """Write the folder of a compressed model (path or URL), all or nothing: what ``load_int8`` and scoring read."""
    with replace_folder(path) as staging:
        save_file(
            {name: value.contiguous() for name, value in small.state_dict().items()}, staging / "int8.safetensors"
        )
        if ranker is not None:
            save_ranker(staging, ranker)
        write_json(staging / "config.json", asdict(small.config))
        write_json(staging / "model.json", asdict(about))


def load_int8(path: str) -> Checkpoint:
    """Memory-map what ``save_int8`` wrote. Raises CheckpointError when it is missing or broken."""
    with open_folder(path) as folder:
        small = _int8_shape(ModelConfig(**read_json(folder / "config.json")))
        try:
            small.load_state_dict(read_tensors(folder / "int8.safetensors"), assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: its weights do not fit its config.json; run jobs/compress.py again"
            ) from error
        return Checkpoint(small.eval(), About(**read_json(folder / "model.json")), load_ranker(folder))


def folder_bytes(path: str) -> int:
    """The size of all files of a folder (path or URL)."""
    filesystem, root = url_to_fs(plain_uri(path))
    return int(filesystem.du(root))


def _int8_shape(config: ModelConfig) -> SequenceModel:
    """A model without weights whose item table and linear maps are of the int8 kind."""
    with torch.device("meta"):
        model = SequenceModel(config)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(
                        parent, name, Int8Linear(child.in_features, child.out_features, bias=child.bias is not None)
                    )
        model.items = cast("nn.Module", Int8Items(config.num_items, config.width))  # type: ignore[assignment]
    return model


def _int8_weights(model: SequenceModel) -> dict[str, Tensor]:
    """The weights of ``_int8_shape`` made from a float model's, whatever it is made of besides."""
    weights = {
        name: value.detach().cpu() for name, value in model.state_dict().items() if not name.startswith("items.")
    }
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("items."):
            steps_OF, scale_O = to_int8(weights.pop(f"{name}.weight"))
            weights |= {f"{name}.steps_OF": steps_OF, f"{name}.scale_O": scale_O}
    steps_ID, scale_I = to_int8(precompute_vectors(model, torch.arange(model.config.num_items + 1)))
    return {**weights, "items.steps_ID": steps_ID, "items.scale_I": scale_I}
