"""Names in, paths out."""

import pytest

from crossrec_core.lake import Lake, local_path, model_location, plain_uri


def test_a_lake_joins_without_doubled_slashes() -> None:
    assert Lake("s3a://bucket/lake/").at("metrics") == "s3a://bucket/lake/metrics"


def test_a_model_lies_below_its_run_and_purpose() -> None:
    assert model_location("r", "serve", "markov", "books") == "checkpoints/r/serve/markov/books"


@pytest.mark.parametrize(
    ("path", "local", "plain"),
    [
        ("lake", "lake", "lake"),
        ("/data/lake", "/data/lake", "/data/lake"),
        ("file:///data/lake", "/data/lake", "/data/lake"),
        ("s3a://bucket/lake", None, "s3://bucket/lake"),
        ("abfss://c@a/lake", None, "abfss://c@a/lake"),
    ],
)
def test_paths_are_spelt_as_each_engine_wants(path: str, local: str | None, plain: str) -> None:
    assert local_path(path) == local
    assert plain_uri(path) == plain
