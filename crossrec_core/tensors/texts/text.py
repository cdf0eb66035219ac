"""Item texts in, raw vectors out: latent semantic analysis, the embedded default. No download (IO: save and load).

lower-cased words and word pairs -> hash buckets -> TF-IDF (sublinear tf) -> truncated SVD (Deerwester et al. 1990).
``whitening`` makes item vectors of what comes out. N texts, T hash buckets, W dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.folders import open_folder, read_json, read_tensors, replace_folder, write_json

ENCODER_NAME = "lsa"


@dataclass(frozen=True)
class TextEncoder:
    """A fitted encoder."""

    idf_T: np.ndarray  # float32, 0 for buckets below min_document_count
    components_TW: np.ndarray  # float32: the projection


@dataclass(frozen=True)
class LoadTextEncoder:
    """Picklable: a path; calling it loads the encoder and returns texts -> float32 [N, W]."""

    path: str

    def __call__(self) -> Callable[[Sequence[str]], np.ndarray]:
        encoder = load_text(self.path)
        return lambda texts: encode(encoder, texts)


def fit_text(
    texts: Sequence[str], *, dimensions: int, num_buckets: int, min_document_count: int, seed: int
) -> TextEncoder:
    """Fit on non-empty texts. W = ``dimensions``, or the rank of the texts where that is smaller, zero-padded.

    Raises CrossRecError when no word occurs in ``min_document_count`` texts.
    """
    counts_NT = _count_words(texts, num_buckets)
    document_counts_T = np.asarray((counts_NT > 0).sum(axis=0)).ravel()
    idf_T = np.log((1 + len(texts)) / (1 + document_counts_T)) + 1
    idf_T = np.where(document_counts_T >= min_document_count, idf_T, 0.0).astype(np.float32)
    if not idf_T.any():
        raise CrossRecError(
            f"text: no word occurs in {min_document_count} of {len(texts)} texts; lower text.min_document_count"
        )
    tfidf_NT = _weigh(counts_NT, idf_T)
    rank = min(dimensions, min(tfidf_NT.shape) - 1)
    if rank < 1:
        raise CrossRecError(f"text: {len(texts)} texts are too few to fit on; set text.dimensions = 0")
    svd = TruncatedSVD(rank, random_state=seed, n_iter=4).fit(tfidf_NT)
    components_TW = np.zeros((num_buckets, dimensions), np.float32)
    components_TW[:, :rank] = svd.components_.T
    return TextEncoder(idf_T, components_TW)


def encode(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """Raw vectors, float32 [N, W]; the zero vector for a text without a known word."""
    tfidf_NT = _weigh(_count_words(texts, len(encoder.idf_T)), encoder.idf_T)
    return np.asarray(tfidf_NT @ encoder.components_TW).astype(np.float32)


def save_text(path: str, encoder: TextEncoder) -> None:
    """Write a folder (path or URL), all or nothing."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(encoder).items()}
    with replace_folder(path) as staging:
        save_file(tensors, staging / "text.safetensors")
        write_json(staging / "text.json", {"encoder": ENCODER_NAME, "dimensions": encoder.components_TW.shape[1]})


def load_text(path: str) -> TextEncoder:
    """Read what ``save_text`` wrote. Raises CheckpointError when it is missing or broken."""
    with open_folder(path) as folder:
        read_json(folder / "text.json")
        return TextEncoder(**{name: value.numpy() for name, value in read_tensors(folder / "text.safetensors").items()})


def _count_words(texts: Sequence[str], num_buckets: int) -> csr_matrix:
    """Words and pairs of words per hash bucket, float32 [N, T]; hashing needs no vocabulary to be kept."""
    vectorizer = HashingVectorizer(
        n_features=num_buckets, ngram_range=(1, 2), lowercase=True, norm=None, alternate_sign=False, dtype=np.float32
    )
    return vectorizer.transform(texts)


def _weigh(counts_NT: csr_matrix, idf_T: np.ndarray) -> csr_matrix:
    """(1 + log count) * idf, each row at unit length (Manning et al. 2008, section 6.4)."""
    weighed_NT = counts_NT.copy()
    weighed_NT.data = (1 + np.log(weighed_NT.data)) * idf_T[weighed_NT.indices]
    return normalize(weighed_NT)
