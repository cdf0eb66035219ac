from math import log

import pytest
import torch

from crossrec_core.tensors.probability.likes import like_features, likes_of, log_odds

# likes, ratings of three candidates: 5 of 8 in all, (5 + 1) / (8 + 2) by Laplace's rule
COUNTS_V2 = torch.tensor([[4, 5], [0, 0], [1, 3]])


def odds(num_likes, num_rated, *, share=0.6, strength=10.0):
    own = (num_likes + strength * share) / (num_rated + strength)
    return log(own / (1 - own)) - log(share / (1 - share))


def test_an_items_odds_lie_above_the_domains_by_its_shrunken_share():
    likes = likes_of(COUNTS_V2, 10.0)
    assert likes.share == 0.6
    assert likes.items_V.tolist() == pytest.approx([odds(4, 5), 0, odds(1, 3)])
    assert odds(4, 5) == pytest.approx(log((10 / 15) / (5 / 15)) - log(0.6 / 0.4))


def test_what_nobody_rated_is_neutral_to_the_last_bit():
    nothing = torch.zeros(1, 2, dtype=torch.int64)
    assert log_odds(nothing, share=0.37, strength=3.0).tolist() == [0.0]
    assert likes_of(nothing, 5.0).items_V.tolist() == [0.0]  # a domain without a single rating


def test_a_domain_that_likes_all_has_finite_odds():
    assert likes_of(torch.tensor([[9, 9], [4, 4]]), 10.0).items_V.isfinite().all()


def test_a_pair_has_the_odds_of_its_item_and_of_its_user():
    likes = likes_of(COUNTS_V2, 10.0)
    rows_P, positions_P = torch.tensor([1, 0, 1]), torch.tensor([0, 2, 1])
    found_P2 = like_features(likes, torch.tensor([[0, 0], [7, 7]]), rows_P, positions_P)
    assert found_P2.dtype == torch.float64
    expected = [[odds(4, 5), odds(7, 7)], [odds(1, 3), 0], [0, odds(7, 7)]]
    torch.testing.assert_close(found_P2, torch.tensor(expected).double())
    assert like_features(likes, None, rows_P, positions_P)[:, 1].tolist() == [0.0] * 3


def test_a_domain_that_is_not_rated_has_no_such_features():
    counts_B2 = torch.tensor([[0, 0], [7, 7]])
    assert like_features(None, counts_B2, torch.tensor([1]), torch.tensor([0])).shape == (1, 0)
