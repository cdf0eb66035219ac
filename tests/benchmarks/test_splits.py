"""Nobody is in two parts of a split; nothing is both asked and known; small supports are parts of large ones."""

import itertools

import torch

from benchmarks.fewshot_suite.splits import NUM_QUERY, SIZES, WHOLE, draw_sizes, draw_tasks, keep_support, split_users
from tests.benchmarks.made_ratings import NUM_RATED, made_ratings


def draw(seed=1):
    mask_UK = made_ratings().mask_UK
    return mask_UK, draw_tasks(mask_UK, torch.arange(20), generator=torch.Generator().manual_seed(seed))


def test_users_are_split_eight_to_one_to_one_and_otherwise_by_another_seed():
    split = split_users(583, seed=3)
    assert [len(part) for part in (split.valid, split.test)] == [58, 58]
    assert torch.equal(torch.cat((split.train, split.valid, split.test)).sort().values, torch.arange(583))
    assert torch.equal(split.test, split_users(583, seed=3).test)
    assert not torch.equal(split.test, split_users(583, seed=4).test)


def test_query_and_support_are_all_of_a_users_ratings_once():
    mask_UK, drawn = draw()
    for task in range(20):
        places = drawn.query_TQ[task].tolist() + drawn.support_TS[task][drawn.mask_TS[task] > 0].tolist()
        assert sorted(places) == mask_UK[task].nonzero().flatten().tolist()
    assert drawn.query_TQ.shape[1] == NUM_QUERY


def test_a_smaller_support_is_part_of_a_larger_one():
    _, drawn = draw()
    sizes = [keep_support(drawn, torch.full((20,), size)).mask_TS for size in SIZES]
    assert [int(mask_TS[0].sum()) for mask_TS in sizes] == [
        0,
        1,
        2,
        3,
        5,
        8,
        NUM_RATED - NUM_QUERY,
        NUM_RATED - NUM_QUERY,
    ]
    assert all(bool((small <= large).all()) for small, large in itertools.pairwise(sizes))


def test_every_size_is_drawn():
    drawn_T = draw_sizes(400, generator=torch.Generator().manual_seed(1))
    assert set(drawn_T.tolist()) == {*SIZES}
    assert WHOLE in SIZES
