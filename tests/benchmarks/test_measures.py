"""P@5 and NDCG@5 inside ten ratings, against arithmetic and against drawing the ties by lot."""

import itertools
import math

import pytest
import torch

from benchmarks.fewshot_suite.measures import RATING4, TOP5, measure_query, relevance, tuning_value

D = [1 / math.log2(place + 1) for place in range(1, 6)]
RATINGS = torch.tensor([[5.0, 4, 4, 3, 3, 3, 3, 2, 1, 1]], dtype=torch.float64)


def scores(*order):
    """Scores that rank the places in ``order`` first."""
    found = torch.zeros(1, 10)
    for rank, place in enumerate(order):
        found[0, place] = 10 - rank
    return found


def test_liked_films_are_those_rated_four_or_five():
    found = measure_query(scores(0, 9, 1, 8, 7), RATINGS, RATING4)
    assert found["p"].item() == pytest.approx(2 / 5)
    assert found["ndcg"].item() == pytest.approx((D[0] + D[2]) / sum(D[:3]))


def test_ties_at_the_fifth_place_share_what_is_left():
    assert relevance(RATINGS, TOP5)[0].tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0]


def test_sharing_is_the_mean_over_all_ways_to_break_the_tie():
    order = (3, 0, 7, 1, 5)
    found = measure_query(scores(*order), RATINGS, TOP5)
    p, ndcg = [], []
    for two in itertools.combinations((3, 4, 5, 6), 2):
        hits = [place in {0, 1, 2, *two} for place in order]
        p.append(sum(hits) / 5)
        ndcg.append(sum(d for d, hit in zip(D, hits, strict=True) if hit) / sum(D))
    assert found["p"].item() == pytest.approx(sum(p) / len(p))
    assert found["ndcg"].item() == pytest.approx(sum(ndcg) / len(ndcg))


def test_the_true_order_scores_one_and_its_reverse_less_than_any():
    for kind in (TOP5, RATING4):
        assert measure_query(RATINGS, RATINGS, kind)["ndcg"].item() == pytest.approx(1 if kind == RATING4 else (
            sum(D[:3]) + (D[3] + D[4]) / 2) / sum(D))  # fmt: skip
        assert measure_query(-RATINGS, RATINGS, kind)["ndcg"].item() < 0.3


def test_a_user_who_likes_nothing_has_no_ndcg_and_does_not_count():
    nothing = torch.full((1, 10), 3.0, dtype=torch.float64)
    assert math.isnan(measure_query(nothing, nothing, RATING4)["ndcg"].item())
    both = torch.cat((nothing, RATINGS))
    assert tuning_value(both, both) == pytest.approx((0.5 * (0.5 + relevance_value()) + 1) / 2)


def relevance_value():
    """NDCG under top5 of the true order of RATINGS."""
    return (sum(D[:3]) + (D[3] + D[4]) / 2) / sum(D)
