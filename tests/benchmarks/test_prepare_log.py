"""The log of the prepare benchmark: drawn by users, the same every time, and unclean in known shares."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import prepare_log as log


def read(folder):
    return pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))], ignore_index=True)


@pytest.fixture(scope="module")
def histories():
    return log.made_histories(events=20_000, seed=3)


def test_a_log_is_the_same_every_time_and_another_seed_gives_another(tmp_path, histories):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        log.write_log(histories, tmp_path / name, events=5000, seed=seed)
    assert read(tmp_path / "one").equals(read(tmp_path / "two"))
    assert not read(tmp_path / "one").equals(read(tmp_path / "three"))


def test_a_log_of_one_pass_holds_every_history_once_in_its_order(tmp_path, histories):
    total = len(histories.items)
    rows = log.write_log(histories, tmp_path / "log", events=total, seed=0)
    events = read(tmp_path / "log")
    assert len(events) == rows
    once = events.drop_duplicates()
    once = once.assign(event_time=once["event_time"] % log.to_millis(log.NEWEST))
    assert len(once) == total
    by_user = (
        once.sort_values(["user_id", "event_time"]).groupby("user_id")["item_id"].agg(lambda own: tuple(own.fillna(-1)))
    )
    bounds = zip(histories.starts[:-1], histories.starts[1:], strict=True)
    expected = [tuple(np.maximum(histories.items[lo:hi], -1).astype(float)) for lo, hi in bounds]
    assert sorted(by_user) == sorted(expected)


def test_a_larger_log_keeps_lengths_and_popularity_and_has_users_of_its_own(tmp_path, histories):
    total = len(histories.items)
    log.write_log(histories, tmp_path / "log", events=4 * total, seed=0)
    once = read(tmp_path / "log").drop_duplicates()
    assert len(once) == pytest.approx(4 * total, abs=400)
    lengths = once.groupby("user_id").size()
    assert lengths.mean() == pytest.approx(histories.lengths.mean(), rel=0.02)
    assert lengths.max() == histories.lengths.max()
    counts = once["item_id"].value_counts()
    assert counts.iloc[0] == 4 * pd.Series(histories.items[histories.items >= 0]).value_counts().iloc[0]


def test_no_two_events_of_a_user_share_a_moment_but_a_row_that_came_twice(tmp_path, histories):
    rows = log.write_log(histories, tmp_path / "log", events=20_000, seed=0)
    once = read(tmp_path / "log").drop_duplicates()
    assert not once.duplicated(["user_id", "event_time"]).any()
    assert 0.005 < rows / len(once) - 1 < 0.015


def test_people_come_in_the_evening_and_some_clocks_are_wrong(tmp_path, histories):
    log.write_log(histories, tmp_path / "log", events=20_000, seed=0)
    millis = read(tmp_path / "log")["event_time"]
    is_wrong = millis > log.to_millis(log.NEWEST)
    hours = (millis[~is_wrong] // log.MILLIS_PER_HOUR) % 24
    assert 0.0005 < is_wrong.mean() < 0.005
    assert (hours == 20).sum() > 5 * (hours == 3).sum()


def test_a_skewed_log_has_a_giant_and_a_domain_of_most_events():
    even, skewed = (log.made_histories(events=20_000, seed=0, is_skewed=skew) for skew in (False, True))
    assert np.bincount(even.domains).max() / len(even.domains) < 0.22
    assert np.bincount(skewed.domains).max() / len(skewed.domains) == pytest.approx(0.8, abs=0.02)
    assert skewed.lengths.max() == 5000
    assert even.lengths.max() < 1000


def test_a_domain_that_next_to_nobody_uses_has_no_name():
    histories = log.Histories(np.array([0, 1000]), np.array([4] * 997 + [9] * 3), np.zeros(1000, dtype=np.int64))
    assert histories.domain_nums == [4]
