"""Films' likeness against numpy, and that a training user's own ratings are no part of what the user is told."""

import numpy as np
import pytest
import torch

from benchmarks.fewshot_suite.likeness import fit_likeness, near, weigh, without_mean
from tests.benchmarks.made_ratings import made_ratings

TRAIN = torch.arange(90)
SHRINKAGE = 3.0


def fit(train=TRAIN):
    ratings = made_ratings()
    residual_UK = (ratings.ratings_UK - 3) * ratings.mask_UK
    return fit_likeness(ratings.items_UK, residual_UK, train, 41, shrinkage=SHRINKAGE, prior=0.5)


def by_numpy(train, left, right):
    """The likeness of two films, from users' rows one by one."""
    ratings = made_ratings()
    pairs = []
    for user in train:
        row = ratings.items_UK[user]
        own = dict(zip(row.tolist(), ratings.ratings_UK[user].tolist(), strict=True))
        own.pop(0)
        mean = np.mean(list(own.values()))
        pairs.append((own.get(left, mean) - mean, own.get(right, mean) - mean, left in own and right in own))
    a, b, both = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    cosine = a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
    return max(cosine * both.sum() / (both.sum() + SHRINKAGE), 0.0)


def asked(likeness, user):
    places = torch.arange(6)[None]
    films = likeness.items_UK[user, :6].tolist()
    return near(likeness, torch.tensor([user]), places, places)[0], films


@pytest.mark.parametrize(("user", "train"), [(100, TRAIN), (3, torch.tensor([row for row in range(90) if row != 3]))])
def test_a_user_is_told_what_all_other_training_users_say(user, train):
    found_66, films = asked(fit(), user)
    for at, left in enumerate(films):
        for to, right in enumerate(films):
            if at != to:
                assert found_66[at, to].item() == pytest.approx(by_numpy(train.tolist(), left, right), abs=1e-5)


def test_films_of_one_genre_are_alike_and_of_two_are_not():
    found_66, films = asked(fit(), 100)
    same = torch.tensor([[left % 2 == right % 2 for right in films] for left in films]) & ~torch.eye(
        6, dtype=torch.bool
    )
    other = torch.tensor([[left % 2 != right % 2 for right in films] for left in films])
    assert found_66[same].min() > 0.2
    assert found_66[other].max() < 0.2


def test_what_is_said_is_the_weighed_mean_of_the_known_and_a_prior_of_zero():
    likeness = fit()
    places_13 = torch.tensor([[0, 1, 2]])
    said_113, knows_113 = torch.tensor([[[2.0, -1.0, 5.0]]]).double(), torch.tensor([[[1.0, 1.0, 0.0]]]).double()
    query_11 = torch.tensor([[8]])
    near_3 = near(likeness, torch.tensor([100]), query_11, places_13)[0, 0]
    wanted = (2 * near_3[0] - near_3[1]) / (near_3[0] + near_3[1] + 0.5)
    found = weigh(likeness, torch.tensor([100]), query_11, places_13, said_113, knows_113)
    torch.testing.assert_close(found[0, 0], wanted)


def test_residuals_lose_their_mean_and_padding_stays_zero():
    found = without_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert found.tolist() == [[-1.0, 1.0, 0.0]]
