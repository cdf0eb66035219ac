"""Small made-up sequences for the tests of this folder."""

import torch
from torch import Tensor

from crossrec_core.tensors.network.encoder import ModelConfig, SequenceModel
from crossrec_core.tensors.network.items import ItemAttributes, no_attributes
from crossrec_core.tensors.training.finetune import build_model


def config(**changes: object) -> ModelConfig:
    """A tiny model over 20 items in 2 domains."""
    values: dict[str, object] = {
        "encoder": "gpt", "num_items": 20, "num_domains": 2, "num_actions": 2, "num_gap_buckets": 8, "width": 16,
        "layers": 2, "heads": 2, "dropout": 0.0, "id_dropout": 0.0, "max_len": 8, "text_dimensions": 0,
        "relative_bias": "none", "adapter_rank": 0, "mask_share": 0.3, "mask_last_share": 0.5, "normalise_inputs": True,
    }  # fmt: skip
    return ModelConfig(**{**values, **changes})  # type: ignore[arg-type]


def tiny_model(
    *, seed: int = 0, text_vectors_IK: Tensor | None = None, attributes: ItemAttributes | None = None, **changes: object
) -> SequenceModel:
    """A fresh tiny model in evaluation mode."""
    return build_model(config(**changes), seed=seed, text_vectors_IK=text_vectors_IK, attributes=attributes).eval()


def tiny_attributes() -> tuple[ItemAttributes, dict[str, object]]:
    """Attributes of items 1-3 out of 20, and what they change in the config."""
    attributes = no_attributes(20, 2)
    attributes.nums_IA[1], attributes.weights_IA[1] = torch.tensor([1, 2]), torch.tensor([0.5, 0.5])
    attributes.nums_IA[2], attributes.weights_IA[2] = torch.tensor([1, 2]), torch.tensor([0.5, 0.5])
    attributes.nums_IA[3], attributes.weights_IA[3] = torch.tensor([3, 0]), torch.tensor([1.0, 0.0])
    return attributes, {"num_attributes": 3, "attributes_per_item": 2}


def random_columns(num_rows: int, length: int, *, seed: int = 0, num_items: int = 20) -> dict[str, Tensor]:
    """Right-padded rows of 0 to ``length`` random events."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> Tensor:
        return torch.randint(1, high + 1, (num_rows, length), generator=generator)

    lengths = torch.randint(0, length + 1, (num_rows, 1), generator=generator)
    is_event = torch.arange(length) < lengths
    values = {"item_nums": draw(num_items), "domain_nums": draw(2), "action_nums": draw(2), "gap_buckets": draw(8)}
    values["event_orders"] = (draw(1_000_000) * 1_000_000).cumsum(dim=1)
    return {name: value * is_event for name, value in values.items()}


def parity_columns(num_rows: int = 128, length: int = 8, *, seed: int = 0) -> dict[str, Tensor]:
    """Even users touch even items, odd users odd ones, out of 20; items 1-10 are domain 1, 11-20 domain 2."""
    generator = torch.Generator().manual_seed(seed)
    parity = torch.arange(num_rows).unsqueeze(1) % 2
    items = 2 * torch.randint(0, 10, (num_rows, length), generator=generator) + 2 - parity
    ones = torch.ones_like(items)
    orders = (torch.randint(1, 1_000_000, items.shape, generator=generator) * 1_000_000).cumsum(dim=1)
    return {
        "item_nums": items, "domain_nums": 1 + (items > 10).long(), "action_nums": ones, "gap_buckets": ones,
        "event_orders": orders,
    }  # fmt: skip
