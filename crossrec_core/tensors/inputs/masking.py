"""A batch of events in, one with hidden items whose own number is the target out: the masked-item objective of BERT.

B batch, L length. A masked event keeps nothing that scoring would not know: its item is ``MASK_ITEM``, its domain,
action and gap are 0, its time that of the event before. The wanted domain reaches the model with the query.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from crossrec_core.tensors.inputs.batches import Batch

MASK_ITEM = -1


def mask_batch(
    batch: Batch, domain_nums: Tensor, *, mask_share: float, mask_last_share: float, generator: Generator
) -> Batch:
    """Hide events of the domains ``domain_nums`` (int64 [any]) and make them the targets (Sun et al. 2019).

    Each is hidden with probability ``mask_share``. In a share ``mask_last_share`` of the rows, and where none was
    drawn, only the row's last event of these domains is hidden, and what follows it is cut off: so it looks in scoring.
    """
    is_wanted_BL = torch.isin(batch.domains_BL, domain_nums) & (batch.items_BL != 0)
    places_L = torch.arange(batch.items_BL.shape[1], device=batch.items_BL.device)
    drawn_BL = _draw(batch.items_BL, generator) < mask_share
    drawn_BL &= is_wanted_BL
    is_last_row_B1 = (_draw(batch.items_BL[:, :1], generator) < mask_last_share) | ~drawn_BL.any(dim=1, keepdim=True)
    last_B1 = (is_wanted_BL * places_L).amax(dim=1, keepdim=True)
    masked_BL = torch.where(is_last_row_B1, (places_L == last_B1) & is_wanted_BL, drawn_BL)
    is_kept_BL = ~is_last_row_B1 | (places_L <= last_B1)
    is_shown_BL = is_kept_BL & ~masked_BL
    before_BL = (places_L * ~masked_BL).cummax(dim=1).values
    return Batch(
        items_BL=(batch.items_BL * is_shown_BL).masked_fill(masked_BL, MASK_ITEM),
        domains_BL=batch.domains_BL * is_shown_BL,
        actions_BL=batch.actions_BL * is_shown_BL,
        gaps_BL=batch.gaps_BL * is_shown_BL,
        orders_BL=batch.orders_BL.gather(1, before_BL) * is_kept_BL,
        target_items_BL=batch.items_BL * masked_BL,
        target_domains_BL=batch.domains_BL * masked_BL,
    )


def append_mask(events: list[Tensor]) -> list[Tensor]:
    """The sequence columns [B, L] -> [B, L + 1] with a masked event after each row's last: what scoring asks for."""
    items_BL, domains_BL, actions_BL, gaps_BL, orders_BL = (pad(values, (0, 1)) for values in events)
    length_B1 = (items_BL != 0).sum(dim=1, keepdim=True)
    last_B1 = orders_BL.gather(1, (length_B1 - 1).clamp(min=0))
    return [
        items_BL.scatter(1, length_B1, MASK_ITEM), domains_BL, actions_BL, gaps_BL,
        orders_BL.scatter(1, length_B1, last_B1),
    ]  # fmt: skip


def _draw(like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=generator.device)
