"""Item numbers in, item vectors out: an id embedding plus a linear map of the frozen text vector.

I numbers (num_items + 1, row 0 is padding), K text dimensions, D width.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

INIT_STD = 0.02


class ItemTable(nn.Module):
    """item vector = id embedding + map(text vector). Padding has the zero vector.

    Without text the vector is the id embedding alone; an item that training never saw has a zero id row when it was
    appended later, and then its text speaks for it.
    """

    text_vectors_IK: Tensor

    def __init__(self, num_items: int, width: int, text_dimensions: int) -> None:
        super().__init__()
        self.ids = nn.Parameter(torch.empty(num_items + 1, width))
        nn.init.normal_(self.ids, std=INIT_STD)
        with torch.no_grad():
            self.ids[0] = 0
        self.text_map = nn.Linear(text_dimensions, width, bias=False) if text_dimensions else None
        # Half precision: unit vectors lose nothing that matters, and the table is as large as the id table.
        empty = torch.zeros(num_items + 1, text_dimensions, dtype=torch.float16)
        self.register_buffer("text_vectors_IK", empty, persistent=False)

    def forward(self, nums: Tensor, hidden_I: Tensor | None = None, *, sparse: bool = False) -> Tensor:
        """Numbers of any shape [...] -> vectors [..., D]; where ``hidden_I`` is true the id part is left out.

        With ``sparse`` the id table's gradient holds only the rows that were looked up (for lazy Adam).
        """
        ids = F.embedding(nums, self.ids, padding_idx=0, sparse=sparse)
        if hidden_I is not None:
            ids = ids.masked_fill(hidden_I[nums].unsqueeze(-1), 0.0)
        if self.text_map is None:
            return ids
        return ids + self.text_map(F.embedding(nums, self.text_vectors_IK).float())


def pick_hidden_ids(num_items: int, share: float, generator: Generator) -> Tensor | None:
    """Draw the items whose id part is hidden in one batch: bool [I] (on the generator's device); None for share 0.

    Hidden ids make the text map learn to stand alone, as it must for new items (id dropout, DropoutNet, Volkovs et
    al. 2017).
    """
    if share == 0:
        return None
    return torch.rand(num_items + 1, generator=generator, device=generator.device) < share
