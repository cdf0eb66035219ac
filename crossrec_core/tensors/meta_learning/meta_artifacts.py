"""A trained head and what it was made for in, a folder out, and back (IO).

weights.safetensors and meta.json: method and shape, what each domain's probabilities are calibrated by, and where the
head is on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from safetensors.torch import save_file
from torch import nn

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json
from crossrec_core.tensors.meta_learning.meta_heads import HeadConfig, build_head
from crossrec_core.tensors.meta_learning.meta_validation import Platt


@dataclass(frozen=True)
class AboutHead:
    """meta.json. A head belongs to the pretrained model of its run and purpose, whose vectors it reads."""

    config: HeadConfig
    id_fingerprint: str
    epochs: int
    valid_ndcg: float | None
    platt: Mapping[str, Platt]  # by domain
    is_on: Mapping[str, bool]  # by domain; no entry is off
    settings: Mapping[str, Any]


def save_head(path: str, head: nn.Module, about: AboutHead) -> None:
    """Write a folder (path or URL), all or nothing."""
    weights = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    with replace_folder(path) as staging:
        save_file(weights, staging / "weights.safetensors")
        write_json(staging / "meta.json", asdict(about))


def load_head(path: str, *, id_fingerprint: str | None = None) -> tuple[nn.Module, AboutHead]:
    """Read what ``save_head`` wrote, in evaluation mode.

    Raises:
        CheckpointError: the folder is missing or broken, or the head was made for other ids than ``id_fingerprint``.
    """
    with open_folder(path) as folder:
        about = _to_about(read_json(folder / "meta.json"))
        if id_fingerprint is not None and id_fingerprint != about.id_fingerprint:
            raise CheckpointError(
                f"{path}: trained on item table {about.id_fingerprint[:8]}, this run has {id_fingerprint[:8]}; "
                "run jobs/meta_train.py again"
            )
        head = build_head(about.config, seed=0)
        try:
            head.load_state_dict(read_tensors(folder / "weights.safetensors"))
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: its weights do not fit its meta.json; run jobs/meta_train.py again"
            ) from error
    return head.eval(), about


def _to_about(content: dict[str, Any]) -> AboutHead:
    platt = {domain: Platt(**values) for domain, values in content.pop("platt").items()}
    return AboutHead(config=HeadConfig(**content.pop("config")), platt=platt, **content)
