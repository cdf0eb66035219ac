"""How many sequences a training step reads: batches of a small log are smaller, and a refit keeps what was found."""

import pytest

from crossrec_core.config import read_config
from jobs.fitted import as_found, describe_fit
from jobs.training import Trained, choose_batch_size


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    file = tmp_path_factory.mktemp("batches") / "some.toml"
    file.write_text('[domains.shop]\npath = "shop.csv"\n')
    return read_config(file, overrides={"train": {"pretrain": {"batch_size": 256, "min_steps": 100}}}).train.pretrain


@pytest.mark.parametrize(
    ("num_rows", "expected"),
    [(1_000_000, 256), (25_600, 256), (25_599, 128), (12_800, 128), (7_144, 64), (3_199, 32), (10, 32), (0, 32)],
)
def test_batches_are_halved_until_an_epoch_has_its_steps(stage, num_rows, expected):
    assert choose_batch_size(stage, num_rows) == expected


@pytest.mark.parametrize(("batch_size", "expected"), [(100, 50), (48, 32), (8, 8)])
def test_odd_sizes_stop_at_the_least_and_small_ones_stay(stage, batch_size, expected):
    changed = type(stage)(**{**vars(stage), "batch_size": batch_size})

    assert choose_batch_size(changed, 5_000 if batch_size == 100 else 100) == expected


def test_no_least_number_of_steps_takes_the_size_as_it_is(stage):
    assert choose_batch_size(type(stage)(**{**vars(stage), "min_steps": 0}), 10) == 256


def test_a_refit_reads_batches_as_at_validate(stage):
    found = describe_fit(stage, Trained(batch_size=64, epochs=3, valid_ndcg=0.1, seconds=1.0, reports=()))
    refitted = as_found(stage, found)

    assert (found["batch_size"], found["epochs"], found["max_epochs"]) == (64, 3, stage.max_epochs)
    assert choose_batch_size(refitted, 10_000_000) == choose_batch_size(refitted, 10) == 64


@pytest.mark.parametrize("found", [None, {"batch_size": None}])
def test_a_stage_without_a_trained_model_at_validate_chooses_anew(stage, found):
    assert as_found(stage, found) is stage
