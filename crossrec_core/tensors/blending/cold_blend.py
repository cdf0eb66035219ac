"""A blend's weights and what is to be done about cold candidates in, scores of candidates that nobody has touched out.

Counted and popularity evidence cannot exist for them, and phi says "never" where it should say "unknown". So

    score(u, c) = sum_j w_j(u) phi_j(u, c)  +  sum_t d_t(u) phi_t(u, c) + d_0(u) + shift

where the first sum takes the mean phi_j of the pools for all evidence but that of texts (t), the weights d are fitted
on touched candidates that are treated as cold, and the shift spends on them what may be lost (``cold_fit``).

B users, P pairs, J features of a candidate, T of them about texts, F features of a user. IO: its file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrec_core.tensors.blending.blend import Blend, as_blend, user_weights
from crossrec_core.tensors.folders import read_tensors

COLD_FILE = "cold.safetensors"


@dataclass(frozen=True)
class ColdBlend:
    """What a blend does with cold candidates; all float64 but ``columns_T``."""

    columns_T: Tensor  # int64: which phi are of sources that read texts
    correction: Blend  # T + 1 weights, the last one of the constant 1
    shift: Tensor  # []


@dataclass(frozen=True)
class ColdWeights:
    """A score is linear in the phi of texts: by user, its slopes and its offset."""

    columns_T: Tensor
    slope_BT: Tensor  # float32
    offset_B: Tensor  # float32


def uncorrected_weights(blend: Blend, columns_T: Tensor, features_BF: Tensor) -> ColdWeights:
    """The blend of touched candidates, with the mean of what cannot be known of cold ones."""
    weights_BJ = user_weights(blend, features_BF)
    is_text_J = torch.zeros(weights_BJ.shape[1], dtype=torch.bool)
    is_text_J[columns_T] = True
    unknown_B = (weights_BJ.double() * blend.mean_J.masked_fill(is_text_J, 0.0)).sum(dim=1)
    return ColdWeights(columns_T, weights_BJ[:, columns_T], unknown_B.float())


def cold_weights(cold: ColdBlend, blend: Blend, features_BF: Tensor) -> ColdWeights:
    """The slopes and offsets of users, beside whose touched candidates' weights ``blend`` stands."""
    base = uncorrected_weights(blend, cold.columns_T, features_BF)
    own_BT1 = user_weights(cold.correction, features_BF)
    own_BT, intercept_B = own_BT1[:, :-1], own_BT1[:, -1]
    moved_B = intercept_B + cold.shift - (own_BT.double() * cold.correction.mean_J[:-1]).sum(dim=1)
    return ColdWeights(cold.columns_T, base.slope_BT + own_BT, base.offset_B + moved_B.float())


def cold_pair_scores(weights: ColdWeights, phi_PJ: Tensor, rows_P: Tensor) -> Tensor:
    """The score of pairs with a cold candidate, float32 [P]; ``phi_PJ`` as ``Evidence.at``."""
    return (phi_PJ[:, weights.columns_T] * weights.slope_BT[rows_P]).sum(dim=1) + weights.offset_B[rows_P]


def cold_scores(weights: ColdWeights, said_BC: Mapping[int, tuple[Tensor, Tensor]], *, otherwise_BC: Tensor) -> Tensor:
    """The scores of some cold candidates, float32 [B, C]; ``otherwise_BC`` where no text says anything.

    ``said_BC`` holds, for each phi of ``weights.columns_T``, its values and whether the source has something to say.
    """
    scores_BC = weights.offset_B.unsqueeze(1).expand_as(otherwise_BC).clone()
    speaks_BC = torch.zeros_like(otherwise_BC, dtype=torch.bool)
    for place, k in enumerate(weights.columns_T.tolist()):
        phi_BC, is_real_BC = said_BC[k]
        scores_BC.addcmul_(phi_BC, weights.slope_BT[:, place : place + 1])
        speaks_BC |= is_real_BC
    return torch.where(speaks_BC, scores_BC, otherwise_BC)


def save_cold(folder: Path, cold: ColdBlend) -> None:
    """Write ``cold.safetensors`` into a local folder."""
    tensors = {name: values.contiguous() for name, values in vars(cold.correction).items()}
    save_file({**tensors, "columns_T": cold.columns_T, "shift": cold.shift}, folder / COLD_FILE)


def load_cold(folder: Path) -> ColdBlend | None:
    """Read what ``save_cold`` wrote; None when the folder has none."""
    if not (folder / COLD_FILE).exists():
        return None
    tensors = dict(read_tensors(folder / COLD_FILE))
    columns_T, shift = tensors.pop("columns_T"), tensors.pop("shift")
    return ColdBlend(columns_T, as_blend(tensors, folder / COLD_FILE), shift)
