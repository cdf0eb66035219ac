"""Logs of ratings to tensors: who is a task, what counts once, what is known of a film."""

import pandas as pd
import torch

from benchmarks.fewshot_suite.ratings import read_ratings, to_ratings
from tests.benchmarks.made_ratings import NUM_RATED, NUM_USERS, made_ratings, made_tables


def test_every_rating_is_where_its_user_and_film_are():
    events, _ = made_tables()
    ratings = made_ratings()
    assert len(ratings.user_ids) == NUM_USERS
    assert (ratings.mask_UK.sum(dim=1) == NUM_RATED).all()
    row = ratings.user_ids.index("u005")
    own = events[events["user"] == "u005"]
    names = sorted(events["item"].unique())
    found = {names[number - 1]: value for number, value in
             zip(ratings.items_UK[row].tolist(), ratings.ratings_UK[row].tolist(), strict=True) if number}  # fmt: skip
    assert found == {item: float(rating) for item, rating in zip(own["item"], own["rating"], strict=True)}


def test_users_with_too_few_or_too_many_ratings_are_no_tasks_and_a_second_rating_does_not_count():
    def log(user, num_ratings):
        return [(user, f"film {film}", "3", "1") for film in range(num_ratings)]

    rows = [*log("few", 12), *log("least", 13), *log("most", 100), *log("many", 101), ("few", "film 0", "5", "2")]
    rows += [("least", "film 0", "5", "2")]
    events = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    films = pd.DataFrame([("film 0", "a", "1990", "War")], columns=["item", "title", "year", "genres"])
    ratings = to_ratings(events, films)
    assert ratings.user_ids == ("least", "most")
    assert ratings.mask_UK.sum(dim=1).tolist() == [13, 100]
    assert set(ratings.ratings_UK[0, :13].tolist()) == {3.0}


def test_content_is_genres_and_the_year_and_padding_has_none():
    content = made_ratings().content_VC
    assert content.shape == (41, 3)
    assert (content[0] == 0).all()
    assert content[1].tolist()[:2] == [1.0, 0.0]
    assert content[2].tolist()[:2] == [0.0, 1.0]
    assert abs(float(content[1:, 2].mean())) < 1e-9
    assert (content[1:, 2].diff() > 0).all()


def test_logs_on_the_disk_are_read_and_not_fetched_again(tmp_path):
    folder = tmp_path / "ml_100k"
    folder.mkdir()
    events, films = made_tables()
    events.to_csv(folder / "ratings.tsv", sep="\t", index=False)
    films.to_csv(folder / "items.tsv", sep="\t", index=False)
    read = read_ratings(tmp_path, "ml_100k")
    assert torch.equal(read.ratings_UK, made_ratings().ratings_UK)
    assert torch.equal(read.content_VC, made_ratings().content_VC)
