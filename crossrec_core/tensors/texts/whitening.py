"""Raw item vectors of any encoder in, whitened unit vectors out: the one door to the model (IO: save and load).

    raw -> unit length -> minus the mean -> principal directions, each at variance 1 -> unit length

Raw vectors of language models share a few strong directions, so that every pair of items looks alike; whitening takes
them out (WhitenRec, Zhang et al. 2024). N fitted vectors, P edges, W raw dimensions, K kept dimensions.

With Rec-PCA the directions are the first eigenvectors of X'X - gamma X'LX, L being the Laplacian of the items' weighted
transition graph (TF-LLMER 2026): directions in which items that follow each other differ count less.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save_file

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json

_SMALLEST = 1e-6
_SMALLEST_VARIANCE = 1e-10  # of unit vectors: below it a direction is rounding
Whiten = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Whitening:
    """A fitted whitening; unused dimensions have zero columns."""

    mean_W: np.ndarray  # float32, of the unit vectors it was fitted on
    map_WK: np.ndarray  # float32


@dataclass(frozen=True)
class Edges:
    """Weighted pairs of rows of the fitted vectors, in both directions at once: the transition graph."""

    left_P: np.ndarray  # int64
    right_P: np.ndarray  # int64
    weight_P: np.ndarray  # float, positive


@dataclass(frozen=True)
class LoadWhitening:
    """Picklable: a path; calling it loads the whitening and returns raw [N, W] -> float32 [N, K]."""

    path: str

    def __call__(self) -> Whiten:
        whitening = load_whitening(self.path)
        return lambda raw_NW: whiten(whitening, raw_NW)


def fit_whitening(raw_NW: np.ndarray, *, dimensions: int, edges: Edges | None = None, gamma: float = 0.0) -> Whitening:
    """Fit on the raw vectors of training items. K = ``dimensions``; where the vectors have fewer, the rest is zero.

    ``edges`` and ``gamma`` > 0 pick the directions by Rec-PCA; within them the whitening is the same. Zero rows (items
    without a vector) are left out. A direction's sign makes its largest weight positive.

    Raises:
        CrossRecError: fewer than two distinct vectors.
    """
    has_vector_N1 = raw_NW.any(axis=1, keepdims=True)
    num_vectors = int(has_vector_N1.sum())
    x_NW = _unit(raw_NW.astype(np.float64))
    mean_W = x_NW.sum(axis=0) / max(num_vectors, 1)
    x_NW = np.where(has_vector_N1, x_NW - mean_W, 0.0)
    products_WW = x_NW.T @ x_NW
    wanted_WW = products_WW
    if edges is not None and gamma > 0:
        wanted_WW = products_WW - gamma * _variation(x_NW, edges)
    _, vectors_WW = np.linalg.eigh(wanted_WW)
    picked_WK = vectors_WW[:, ::-1][:, :dimensions]
    # Inside the picked directions: principal axes again, which Rec-PCA's are not
    covariance_KK = picked_WK.T @ products_WW @ picked_WK / max(num_vectors, 1)
    variance_K, axes_KK = np.linalg.eigh(covariance_KK)
    order_K = np.argsort(-variance_K, kind="stable")
    order_K = order_K[variance_K[order_K] > _SMALLEST_VARIANCE]
    if len(order_K) == 0:
        raise CrossRecError(
            f"text: {num_vectors} training items with a vector, all alike; expected two different ones at "
            "least; set text.dimensions = 0"
        )
    map_WK = picked_WK @ axes_KK[:, order_K] / np.sqrt(variance_K[order_K])
    map_WK = map_WK * np.sign(map_WK[np.abs(map_WK).argmax(axis=0), np.arange(map_WK.shape[1])])
    map_WK = np.pad(map_WK, ((0, 0), (0, dimensions - map_WK.shape[1])))
    return Whitening(mean_W.astype(np.float32), map_WK.astype(np.float32))


def decorrelate(whitening: Whitening, raw_NW: np.ndarray) -> np.ndarray:
    """Before the last step to unit length: mean 0 and covariance I on the fitted rows; a zero row stays zero."""
    has_vector_N1 = raw_NW.any(axis=1, keepdims=True)
    # float64: the rounding of a product depends on how many rows are multiplied; this way it is lost in the cast
    vectors_NK = (_unit(raw_NW.astype(np.float64)) - whitening.mean_W) @ whitening.map_WK.astype(np.float64)
    return np.where(has_vector_N1, vectors_NK, 0.0).astype(np.float32)


def whiten(whitening: Whitening, raw_NW: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 [N, K]; the zero vector for a zero row."""
    return _unit(decorrelate(whitening, raw_NW)).astype(np.float32)


def save_whitening(path: str, whitening: Whitening) -> None:
    """Write a folder (path or URL), all or nothing."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(whitening).items()}
    with replace_folder(path) as staging:
        save_file(tensors, staging / "whitening.safetensors")
        write_json(staging / "whitening.json", {"dimensions": whitening.map_WK.shape[1]})


def load_whitening(path: str) -> Whitening:
    """Read what ``save_whitening`` wrote. Raises CheckpointError when it is missing or broken."""
    with open_folder(path) as folder:
        read_json(folder / "whitening.json")
        tensors = read_tensors(folder / "whitening.safetensors")
        return Whitening(**{name: value.numpy() for name, value in tensors.items()})


def _variation(x_NW: np.ndarray, edges: Edges) -> np.ndarray:
    """X'LX with L's edges scaled to the degree 1 of a mean item, so that gamma means the same for every log.

    Sum over edges of weight * (x_left - x_right)(x_left - x_right)', which X'LX is.
    """
    total_WW = np.zeros((x_NW.shape[1], x_NW.shape[1]))
    for start in range(0, len(edges.left_P), 65_536):
        part = slice(start, start + 65_536)
        apart_PW = x_NW[edges.left_P[part]] - x_NW[edges.right_P[part]]
        total_WW += apart_PW.T @ (apart_PW * edges.weight_P[part, None])
    mean_degree = 2 * edges.weight_P.sum() / len(x_NW)
    return total_WW / max(mean_degree, _SMALLEST)


def _unit(vectors_NW: np.ndarray) -> np.ndarray:
    lengths_N1 = np.linalg.norm(vectors_NW, axis=1, keepdims=True)
    return np.where(lengths_N1 > _SMALLEST, vectors_NW / np.maximum(lengths_N1, _SMALLEST), 0.0)
