"""An item table and the items of a batch in, what keeps their vectors and their texts together out, as a loss.

P items, K text dimensions, D width.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from crossrec_core.tensors.network.items import ItemTable
from crossrec_core.tensors.training.losses import text_alignment, text_reconstruction

TEMPERATURE = 0.07  # of the alignment (CLIP, Radford et al. 2021)
MAX_ITEMS = 1024  # drawn per batch: the alignment compares every item with every other one


def text_objective(
    items: ItemTable, nums: Tensor, *, reconstruction: float, alignment: float, generator: Generator
) -> Tensor:
    """reconstruction * text rebuilt from the item vector + alignment * (id part to text part), of items with a text.

    ``nums`` are item numbers of any shape, 0 = none; each counts once. The scalar 0 where both weights are 0, the model
    has no text, or fewer than two of the items have one.
    """
    zero = items.ids.new_zeros(())
    if items.text_map is None or reconstruction == alignment == 0:
        return zero
    nums_P = nums.unique()
    nums_P = nums_P[items.text_vectors_IK[nums_P].any(dim=-1)]
    if len(nums_P) < 2:
        return zero
    if len(nums_P) > MAX_ITEMS:
        picked = torch.randperm(len(nums_P), generator=generator, device=generator.device)[:MAX_ITEMS]
        nums_P = nums_P[picked.to(nums_P.device)]
    loss = zero
    if reconstruction > 0:
        guesses_PK = items.reconstruct_text(items(nums_P, sparse=True))
        loss = loss + reconstruction * text_reconstruction(guesses_PK, items.text_vectors_IK[nums_P].float())
    if alignment > 0:
        ids_PD = F.embedding(nums_P, items.ids, sparse=True)
        loss = loss + alignment * text_alignment(ids_PD, items.text_part(nums_P), temperature=TEMPERATURE)
    return loss
