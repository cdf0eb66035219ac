"""What is stored of a seed comes back as it was, without the users' ids, and stays small."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.quality_suites.values import read_values, user_key, write_values
from tests.benchmarks.made_values import make_values

MEASURES = [("ndcg", 10), ("hr", 10)]
SEGMENTS = ("warm", "cold_in_domain", "known_items")
ORDER = ["model", "domain", "user_id", "segment", "metric", "n"]


def made(seed: int = 0, *, models: dict[str, int] | None = None) -> pd.DataFrame:
    """Some users; a model's hits depend on its own number and, where that is 0, on the seed."""
    rows = []
    for model, number in (models or {"markov": 1, "crossrec": 0}).items():
        rank = np.random.default_rng(number or 100 + seed).integers(1, 100, 60)
        for user in range(60):
            value = 1 / np.log2(rank[user] + 1) if rank[user] <= 10 else 0.0
            for segment in ("warm", "known_items") if user % 3 else ("cold_in_domain",):
                rows += [(model, "a" if user < 40 else "b", f"user{user % 40}", segment, value)]
    hits = make_values(*rows, metric="hr").assign(value=[float(row[-1] > 0) for row in rows])
    return pd.concat([make_values(*rows), hits], ignore_index=True).drop(columns=["table", "cut", "seed"])


def keyed(values: pd.DataFrame) -> pd.DataFrame:
    values = values.assign(user_id=[user_key(user) for user in values["user_id"]])
    return values.sort_values(ORDER).reset_index(drop=True)[[*ORDER, "value"]]


def write(values: pd.DataFrame, folder: Path, seed: int, *, shared_models=("markov",)) -> str:
    return write_values(values, folder / f"main-whole-{seed}.parquet", night="main-whole", shared_models=shared_models)


def read(folder: Path, shared: str, seed: int, *, measures=MEASURES, segments=SEGMENTS) -> pd.DataFrame:
    found = read_values(folder / f"main-whole-{seed}.parquet", shared, measures=measures, segments=segments)
    return found.sort_values(ORDER).reset_index(drop=True)[[*ORDER, "value"]]


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)


def test_measures_come_back_exactly_in_whatever_order_they_were(tmp_path):
    values = made()
    shared = write(values.sample(frac=1, random_state=0), tmp_path, 1)
    assert_same(read(tmp_path, shared, 1), keyed(values))


def test_only_what_was_measured_comes_back(tmp_path):
    values = made()
    lacks = (values["model"] == "crossrec") & (values["domain"] == "b")
    lacks |= (values["model"] == "markov") & (values["user_id"] == "user7")
    shared = write(values[~lacks], tmp_path, 1)
    found = read(tmp_path, shared, 1)
    assert_same(found, keyed(values[~lacks]))
    assert (found["value"] == 0).any()


def test_a_reader_gets_the_measures_and_segments_asked_for(tmp_path):
    values = made()
    shared = write(values, tmp_path, 1)
    found = read(tmp_path, shared, 1, measures=[("hr", 10)], segments=("known_items",))
    assert_same(found, keyed(values[(values["metric"] == "hr") & (values["segment"] == "known_items")]))
    assert len(found)
    assert not len(read(tmp_path, shared, 1, measures=[("mrr", 10)]))


def test_models_that_no_seed_changes_are_stored_once(tmp_path):
    assert write(made(1), tmp_path, 1) == write(made(2), tmp_path, 2)
    assert len(list(tmp_path.glob("*-shared-*.parquet"))) == 1
    moved = write(made(3, models={"markov": 9, "crossrec": 0}), tmp_path, 3)
    for seed, shared, values in ((2, write(made(2), tmp_path, 2), made(2)),
                                 (3, moved, made(3, models={"markov": 9, "crossrec": 0}))):  # fmt: skip
        assert_same(read(tmp_path, shared, seed), keyed(values))
    assert len(list(tmp_path.glob("*-shared-*.parquet"))) == 2


def test_a_night_without_shared_or_without_own_models_is_stored_too(tmp_path):
    for seed, models in enumerate(((), ("markov", "crossrec"))):
        shared = write(made(), tmp_path, seed, shared_models=models)
        assert_same(read(tmp_path, shared, seed), keyed(made()))


def test_no_user_id_is_stored_and_a_user_has_one_key_everywhere(tmp_path):
    write(made(), tmp_path, 1)
    for file in tmp_path.iterdir():
        assert b"user7" not in file.read_bytes()
        assert "user_id" not in pq.read_schema(file).names
    other = write_values(
        made(5), tmp_path / "part-2024-01-01-5.parquet", night="part-2024-01-01", shared_models=["markov"]
    )
    keys = {}
    for file in (tmp_path / other, next(tmp_path.glob("main-whole-shared-*"))):
        stored = pq.read_table(file, columns=["user_key", "domain"]).to_pandas()
        keys[file.name] = set(zip(stored["user_key"], stored["domain"], strict=True))
    first, second = keys.values()
    assert first == second
    in_a, in_b = ({key for key, domain in first if domain == name} for name in "ab")
    assert in_b < in_a
    assert all(0 <= key < 2**63 for key in in_a)


def test_a_measure_that_is_there_twice_is_refused(tmp_path):
    values = made()
    with pytest.raises(ValueError, match="duplicate"):
        write(pd.concat([values, values[:1]]), tmp_path, 1)


def test_a_seed_of_many_users_and_models_fits_into_the_repository(tmp_path):
    num_users, num_models, rng = 20_000, 14, np.random.default_rng(0)
    users = [f"A{user:09d}" for user in range(num_users)]
    parts = []
    for model in range(num_models):
        rank = np.where(rng.uniform(size=num_users) < 0.08, rng.integers(1, 11, num_users), 0)
        for metric, gain in (("ndcg", 1 / np.log2(np.maximum(rank, 1) + 1)), ("hr", np.ones(num_users))):
            own = {"model": f"model{model}", "domain": "a", "user_id": users, "metric": metric, "n": 10}
            frame = pd.DataFrame({**own, "value": np.where(rank > 0, gain, 0.0)})
            parts += [frame.assign(segment=segment) for segment in ("warm", "known_items")]
    values = pd.concat(parts, ignore_index=True)
    shared = write(values, tmp_path, 1, shared_models=[f"model{model}" for model in range(10)])
    whole_bytes = 1_500_000 * num_users / 77_000
    assert (tmp_path / shared).stat().st_size + (tmp_path / "main-whole-1.parquet").stat().st_size < whole_bytes
    assert (tmp_path / "main-whole-1.parquet").stat().st_size < whole_bytes / 5
    assert len(read(tmp_path, shared, 1)) == len(values)
