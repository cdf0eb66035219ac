import torch

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.meta_learning.pairs import phi_of_pairs
from tests.tensors.worlds import random_columns, tiny_model


@torch.no_grad()
def test_features_of_a_pair_are_those_of_its_user_and_item():
    model, columns = tiny_model(), random_columns(7, 5, seed=2)
    nums_V, popularity_V = torch.tensor([3, 5, 9]), torch.tensor([0.5, 0.25, 0.25])
    rows_P, items_P = torch.tensor([6, 0, 3]), torch.tensor([5, 9, 4])
    phi_PF = phi_of_pairs(
        model, columns, rows_P, items_P, domain_num=2, nums_V=nums_V, popularity_V=popularity_V, batch_size=3
    )
    for place, (row, item) in enumerate(zip(rows_P.tolist(), items_P.tolist(), strict=True)):
        query = model.last_query(*(columns[name][row : row + 1] for name in SEQUENCE_COLUMNS), target_domain=2)[0]
        score = float(query @ model.item_vectors(torch.tensor([item]))[0])
        share = {3: 0.5, 5: 0.25, 9: 0.25}.get(item, 1e-6)
        length = int((columns["item_nums"][row] != 0).sum())
        is_cold = not (columns["domain_nums"][row] == 2).any()
        expected = torch.tensor([share, length + 1, is_cold, 1.0]).double()
        expected[:2] = expected[:2].log()
        torch.testing.assert_close(phi_PF[place, -4:], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(float(phi_PF[place, 0]), score, atol=1e-6, rtol=1e-5)
