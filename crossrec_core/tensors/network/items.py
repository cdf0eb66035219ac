"""Item numbers in, item vectors out: an id embedding, a linear map of the frozen text vector and a bag of attributes.

I numbers (num_items + 1, row 0 is padding), K text dimensions, A attributes per item at most, D width.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from crossrec_core.tensors.devices import as_multiplied, no_autocast
from crossrec_core.tensors.retrieval.block_scores import ROW_TILE

INIT_STD = 0.02
LONG_LIST = 32  # rows per number, from where on sorting the numbers is faster
# Said once by each process that makes a CSR matrix; what is used of it, matrix times matrix, is old and tested here
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


@dataclass(frozen=True)
class ItemAttributes:
    """The attributes of every item by item number; a row ends in zeros."""

    nums_IA: Tensor  # int32, from 1
    weights_IA: Tensor  # float16: 1 / how many values of its kind the item has, so that every kind weighs one


class ItemTable(nn.Module):
    """item vector = id embedding + map(text vector) + weighted sum of attribute embeddings. Padding has zeros.

    Without text and attributes the vector is the id embedding alone. An item that training never saw has a zero id row
    (``finetune.silence_untouched``; or it was appended later): its text and its attributes speak for it.
    """

    text_vectors_IK: Tensor
    attribute_nums_IA: Tensor
    attribute_weights_IA: Tensor

    def __init__(
        self, num_items: int, width: int, text_dimensions: int, num_attributes: int = 0, attributes_per_item: int = 0
    ) -> None:
        super().__init__()
        self.ids = nn.Parameter(torch.empty(num_items + 1, width))
        nn.init.normal_(self.ids, std=INIT_STD)
        with torch.no_grad():
            self.ids[0] = 0
        self.text_map = nn.Linear(text_dimensions, width, bias=False) if text_dimensions else None
        self.attributes = nn.Embedding(num_attributes + 1, width, padding_idx=0) if num_attributes else None
        # Half precision: unit vectors lose nothing that matters, and the table is as large as the id table.
        empty = torch.zeros(num_items + 1, text_dimensions, dtype=torch.float16)
        self.register_buffer("text_vectors_IK", empty, persistent=False)
        none = no_attributes(num_items, attributes_per_item)
        self.register_buffer("attribute_nums_IA", none.nums_IA, persistent=False)
        self.register_buffer("attribute_weights_IA", none.weights_IA, persistent=False)

    def forward(self, nums: Tensor, hidden_I: Tensor | None = None, *, sparse: bool = False) -> Tensor:
        """Numbers of any shape [...] -> vectors [..., D]; where ``hidden_I`` is true the id part is left out.

        With ``sparse`` the id table's gradient holds only the rows that were looked up (for lazy Adam).
        """
        vectors = F.embedding(nums, self.ids, padding_idx=0, sparse=sparse)
        if hidden_I is not None:
            vectors = vectors.masked_fill(hidden_I[nums].unsqueeze(-1), 0.0)
        if self.text_map is not None:
            vectors = vectors + self.text_part(nums)
        if self.attributes is not None:
            vectors = vectors + self.attribute_part(nums)
        return vectors

    def text_part(self, nums: Tensor) -> Tensor:
        """What the text adds: numbers [...] -> [..., D], zero for an item without text.

        Outside training an item that a batch of sequences names often is mapped once.
        """
        assert self.text_map is not None
        if not self.training and nums.dim() > 1:
            named_U, places = distinct(nums, len(self.text_vectors_IK))
            return F.embedding(places, self.text_part(F.pad(named_U, (0, -len(named_U) % ROW_TILE))))
        mapped: Tensor = self.text_map(as_multiplied(F.embedding(nums, self.text_vectors_IK)))
        return mapped

    def attribute_part(self, nums: Tensor) -> Tensor:
        """What the attributes add: the mean of each kind's embeddings, summed over kinds; [...] -> [..., D].

        A sparse matrix of weights times the embeddings: looking up all places would fill [..., A, D] numbers,
        most of them padding, and ``embedding_bag`` has no second derivative.
        """
        assert self.attributes is not None
        attributes_PA = self.attribute_nums_IA[nums.flatten()]
        is_set_PA = attributes_PA != 0
        starts = F.pad(is_set_PA.sum(dim=1).cumsum(dim=0), (1, 0))
        weights = self.attribute_weights_IA[nums.flatten()][is_set_PA].to(self.attributes.weight.dtype)
        bags = torch.sparse_csr_tensor(
            starts, attributes_PA[is_set_PA].long(), weights, (len(attributes_PA), len(self.attributes.weight)),
            check_invariants=False,
        )  # fmt: skip
        with no_autocast(bags.device):  # CPUs have no sparse product of bfloat16
            summed: Tensor = bags @ self.attributes.weight
        return summed.view(*nums.shape, -1)

    def reconstruct_text(self, vectors_PD: Tensor) -> Tensor:
        """Item vectors [P, D] -> guesses of their text vectors [P, K], by the text map's transpose: no new weights."""
        assert self.text_map is not None
        return vectors_PD @ self.text_map.weight


def distinct(nums: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Numbers below ``num_rows`` of any shape -> those there are, ascending [U], and each one's place among them.

    ``torch.unique`` sorts them. Ticking them off on a list of all rows takes a sixth of the time if that is short.
    """
    if num_rows > LONG_LIST * nums.numel():
        return nums.unique(return_inverse=True)  # type: ignore[no-any-return, no-untyped-call]
    is_there_I = torch.zeros(num_rows, dtype=torch.bool, device=nums.device)
    is_there_I[nums] = True
    there_U = is_there_I.nonzero().flatten()
    place_I = torch.empty(num_rows, dtype=torch.int64, device=nums.device)
    place_I[there_U] = torch.arange(len(there_U), device=nums.device)
    return there_U, place_I[nums]


def no_attributes(num_items: int, attributes_per_item: int) -> ItemAttributes:
    """Attributes of items that have none."""
    shape = (num_items + 1, attributes_per_item)
    return ItemAttributes(torch.zeros(shape, dtype=torch.int32), torch.zeros(shape, dtype=torch.float16))


def pick_hidden_ids(num_items: int, share: float, generator: Generator) -> Tensor | None:
    """Draw the items whose id part is hidden in one batch: bool [I] (on the generator's device); None for share 0.

    Hidden ids make the text map learn to stand alone, as it must for new items (id dropout, DropoutNet, Volkovs et
    al. 2017).
    """
    if share == 0:
        return None
    return torch.rand(num_items + 1, generator=generator, device=generator.device) < share
