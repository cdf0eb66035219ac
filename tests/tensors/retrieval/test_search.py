"""The searches by way of a pool against the exact one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossrec_core.tensors.inputs.user_batch import Ragged
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP, BlockScores, Product
from crossrec_core.tensors.retrieval.cells import Cells
from crossrec_core.tensors.retrieval.int8 import compress_table
from crossrec_core.tensors.retrieval.search import (
    APPROXIMATE,
    COMPRESSED,
    EXACT,
    Search,
    find_exactly,
    find_in_pool,
    has_pool,
)


def scores_of(queries_BD: Tensor, vectors_VD: Tensor) -> BlockScores:
    """The plain product; nobody is filled."""
    small = compress_table(lambda places: vectors_VD[places], len(vectors_VD))
    return BlockScores(
        block=lambda lo, hi: queries_BD @ vectors_VD[lo:hi].T,
        at=lambda rows_P, positions_P: (queries_BD[rows_P] * vectors_VD[positions_P]).sum(dim=1),
        is_personal_B=torch.ones(len(queries_BD), dtype=torch.bool),
        probability=None,
        product=Product(queries_BD, lambda places: vectors_VD[places], lambda: small),
    )


def draw_seen(num_users: int, num_items: int, each: int, seed: int = 0) -> Ragged:
    generator = torch.Generator().manual_seed(seed)
    places = torch.stack([torch.randperm(num_items, generator=generator)[:each] for _ in range(num_users)])
    return Ragged(torch.arange(num_users).repeat_interleave(each), places.flatten())


def draw(num_rows: int, width: int, *, seed: int) -> Tensor:
    return torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [3, 24, 64, 100])
def test_the_lists_are_the_exact_ones_but_for_a_thousandth(width: int) -> None:
    queries_BD, vectors_VD = draw(90, width, seed=1), draw(6000, width, seed=2)
    scores, seen, search = scores_of(queries_BD, vectors_VD), draw_seen(90, 6000, 30), Search(50, kind=COMPRESSED)
    expected_BN, _ = find_exactly(search, scores, 6000, seen)
    positions_BN, scores_BN, holds_B = find_in_pool(search, scores, seen)
    assert bool(holds_B.all())
    is_found_BN = (positions_BN[:, :, None] == expected_BN[:, None, :]).any(dim=2)
    assert float(is_found_BN.float().mean()) >= 0.999
    rows_BN = torch.arange(90)[:, None].expand_as(positions_BN)
    torch.testing.assert_close(scores_BN, scores.at(rows_BN.flatten(), positions_BN.flatten()).view_as(scores_BN))
    assert not bool((positions_BN[seen.rows_S] == seen.values_S[:, None]).any())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 10]), st.sampled_from([20, 100, 2500]), st.integers(0, 15))
def test_what_holds_is_exact_with_many_ties_where_eight_bits_lose_nothing(
    seed: int, n: int, num_items: int, num_seen: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    whole = [torch.randint(-2, 3, (rows, 6), generator=generator).float() for rows in (9, num_items)]
    for values in whole:
        values[:, 0] = 127.0  # the scale of every row is 1
    whole[0][:, 0] = torch.where(torch.arange(9) % 2 == 0, 127.0, -127.0)  # scores far above 0, or far below
    scores, seen = scores_of(*whole), draw_seen(9, num_items, num_seen, seed)
    search = Search(n, kind=COMPRESSED, oversample=1.0)
    expected_BN, expected_scores_BN = find_exactly(search, scores, num_items, seen)
    positions_BN, scores_BN, holds_B = find_in_pool(search, scores, seen)
    assert torch.equal(positions_BN[holds_B], expected_BN[holds_B])
    assert torch.equal(scores_BN[holds_B], expected_scores_BN[holds_B])
    assert bool(holds_B.all()) == (num_items - num_seen >= n)


def test_users_with_stand_ins_alone_or_with_too_few_candidates_do_not_hold() -> None:
    vectors_VD = draw(12, 8, seed=3)
    scores = replace(scores_of(draw(3, 8, seed=4), vectors_VD), is_personal_B=torch.tensor([True, False, True]))
    seen = Ragged(torch.tensor([2] * 8), torch.arange(8))
    _, scores_BN, holds_B = find_in_pool(Search(5, kind=COMPRESSED), scores, seen)
    assert holds_B.tolist() == [True, False, False]
    assert bool((scores_BN[0] > FILL_TOP).all())


def test_a_zero_vector_is_found_by_nobody_and_whom_it_may_concern_does_not_hold() -> None:
    queries_BD, vectors_VD = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.ones(10, 2)
    vectors_VD[4:] *= torch.arange(1, 7)[:, None]
    vectors_VD[0] = 0
    scores, nobody = scores_of(queries_BD, vectors_VD), draw_seen(2, 10, 0)
    positions_BN, _, holds_B = find_in_pool(Search(3, kind=COMPRESSED), scores, nobody)
    assert positions_BN[0].tolist() == [9, 8, 7]
    assert holds_B.tolist() == [True, False]  # the second user's best score is that of the zero vector


@pytest.mark.parametrize("where", ["queries", "items"])
def test_a_score_that_is_no_number_is_refused(where: str) -> None:
    queries_BD, vectors_VD = draw(3, 4, seed=5), draw(100, 4, seed=6)
    (queries_BD if where == "queries" else vectors_VD)[1, 2] = torch.nan
    with pytest.raises(ValueError, match="is NaN or"):
        find_in_pool(Search(5, kind=COMPRESSED), scores_of(queries_BD, vectors_VD), draw_seen(3, 100, 0))


@pytest.mark.parametrize("kind", [COMPRESSED, APPROXIMATE])
def test_only_products_have_a_pool_and_only_when_asked(kind: str) -> None:
    scores = scores_of(draw(1, 4, seed=7), draw(9, 4, seed=8))
    assert has_pool(Search(5, kind=kind), scores)
    assert not has_pool(Search(5, kind=EXACT), scores)
    assert not has_pool(Search(5, kind=kind), replace(scores, product=None))


def test_an_approximate_search_asks_the_cells_and_without_them_is_compressed() -> None:
    queries_BD, vectors_VD = draw(3, 8, seed=9), draw(200, 8, seed=10)
    scores, seen, search = scores_of(queries_BD, vectors_VD), draw_seen(3, 200, 4), Search(5, kind=APPROXIMATE)
    assert scores.product is not None
    expected = find_in_pool(replace(search, kind=COMPRESSED), scores, seen)
    assert all(map(torch.equal, find_in_pool(search, scores, seen), expected))
    asked = []

    class OddCells(Cells):
        """Of the odd positions, all; of the others, nothing."""

        def draw_pool(self, queries_BD: Tensor, size: int, seen: Ragged, *, num_probes: int) -> Tensor:
            asked.append((size, num_probes))
            pool_BM = torch.arange(1, 200, 2).expand(3, -1).clone()
            for row, position in zip(seen.rows_S.tolist(), seen.values_S.tolist(), strict=True):
                pool_BM[row][pool_BM[row] == position] = -1
            return pool_BM.sort(dim=1).values

    with_cells = replace(scores, product=replace(scores.product, cells=OddCells(None, has_zeros=False)))
    positions_BN, scores_BN, holds_B = find_in_pool(replace(search, num_probes=7), with_cells, seen)
    assert asked == [(8, 7)]
    all_scores_BV = queries_BD @ vectors_VD.T
    all_scores_BV[:, ::2] = -torch.inf
    all_scores_BV[seen.rows_S, seen.values_S] = -torch.inf
    assert torch.equal(positions_BN, all_scores_BV.topk(5).indices)
    torch.testing.assert_close(scores_BN, all_scores_BV.topk(5).values)
    assert holds_B.tolist() == (all_scores_BV.topk(5).values[:, -1] > FILL_TOP).tolist()
