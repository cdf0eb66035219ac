"""Smaller copies of a run's models: saved, listed among the models, measured against the float ones."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.errors import ConfigError
from crossrec_core.lake import Lake, candidates_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.retrieval.candidates import load_candidates
from crossrec_core.tensors.scoring.scorer import LOADERS
from crossrec_core.tensors.training.compress import load_int8
from jobs import compress, finetune, pretrain
from jobs.ground import read_held_out
from jobs.steps import Night
from tests.jobs.test_training import load, read_settings, write_world

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def compressed(spark, tmp_path_factory):
    settings = read_settings(tmp_path_factory.mktemp("compress"))
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    settings = replace(settings, roles=replace(settings.roles, targets=["thin"]))
    pretrain.run(settings, night, spark)
    finetune.run(settings, night, spark)
    counts = {}
    for mode in ("none", "int8", "distilled"):
        rules = replace(settings.compress, mode=mode, width=8)
        counts[mode] = compress.run(replace(settings, compress=rules), night, spark)
    return settings, night, counts


def rows_of(night, model):
    return [row for row in read_rows(night.lake, t.MODELS, where={c.RUN_ID: "r1"}) if row[c.MODEL] == model]


def test_every_neural_model_of_every_purpose_gets_a_small_copy_beside_it(compressed):
    _, night, counts = compressed
    assert counts["none"] == {"models": 0, "training_log": 0}
    assert counts["int8"]["models"] == counts["distilled"]["models"] == 4
    for model in ("transferred", "target_only"):
        for mode, kind in (("int8", "neural_int8"), ("distilled", "neural")):
            rows = rows_of(night, f"{model}_{mode}")
            assert {(row[c.PURPOSE], row[c.DOMAIN], row[c.KIND]) for row in rows} == {
                ("validate", "thin", kind), ("backtest", "thin", kind),
            }  # fmt: skip
            assert all(json.loads(row["settings"])["compressed_from"] == model for row in rows)


def test_what_it_cost_is_logged_and_is_what_the_scorer_gives(compressed):
    settings, night, _ = compressed
    log = read_rows(night.lake, t.TRAINING_LOG, where={c.RUN_ID: "r1", c.PURPOSE: "validate"})
    held_out = read_held_out(settings, night, {"rich": 1, "thin": 2})["thin"]
    candidates = candidates_of(load_candidates(night.lake.at(candidates_location("r1", "validate"))), 2)
    for mode in ("int8", "distilled"):
        measures = {row[c.METRIC]: row["value"] for row in log
                    if row[c.MODEL] == f"transferred_{mode}.thin" and row["stage"] == "compress"}  # fmt: skip
        (row,) = [row for row in rows_of(night, f"transferred_{mode}") if row[c.PURPOSE] == "validate"]
        folder = night.lake.at(row["location"])
        score = LOADERS[row[c.KIND]](Path(folder), json.loads(row["settings"]), candidates)
        assert mean_list_ndcg(score, held_out, candidates) == pytest.approx(measures["valid_ndcg"], abs=1e-3)
        whole = load(night, "validate", "transferred", "thin").about.settings["valid_ndcg"]
        assert measures["valid_ndcg_lost"] == pytest.approx((whole - measures["valid_ndcg"]) / whole, abs=1e-3)
        assert measures["size_ratio"] > 1
    losses = [row for row in log if row[c.MODEL] == "transferred_distilled.thin" and row[c.METRIC] == "loss"]
    assert {row["stage"] for row in losses} == {"distil"}


def test_the_student_is_narrow_and_is_refitted_for_the_epochs_found(compressed):
    _, night, _ = compressed
    validate, backtest = (load(night, purpose, "transferred_distilled", "thin") for purpose in ("validate", "backtest"))
    assert validate.model.config.width == 8
    assert backtest.about.settings["epochs"] == validate.about.settings["epochs"]
    assert backtest.ranker is not None


def test_the_probability_is_the_float_models(compressed):
    _, night, _ = compressed
    (row,) = [row for row in rows_of(night, "transferred_int8") if row[c.PURPOSE] == "backtest"]
    small = load_int8(night.lake.at(row["location"]))
    assert small.ranker.slope == load(night, "backtest", "transferred", "thin").ranker.slope


def test_a_width_that_the_heads_do_not_divide_is_refused(compressed, spark):
    settings, night, _ = compressed
    odd = replace(settings, compress=replace(settings.compress, mode="distilled", width=9))
    with pytest.raises(ConfigError, match=r"compress\.width"):
        compress.run(odd, night, spark)
