"""meta_train on the hand-made parity world of test_training: an artifact, a report and a gate."""

import json
from dataclasses import replace
from datetime import date
from shutil import copytree

import pytest
import torch

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.lake import Lake, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.meta_learning.meta_artifacts import load_head
from crossrec_core.tensors.network.checkpoint import load_about, load_checkpoint
from crossrec_core.tensors.scoring.neural_scorer import in_context_scorer
from crossrec_core.tensors.scoring.scorer import load_models
from jobs import blend, finetune, meta_train, one_model, pretrain
from jobs.adapted import is_adapted
from jobs.lists import read_models, to_load
from jobs.steps import Night
from tests.jobs.test_training import NUM_USERS, read_settings, write_world
from tests.user_batches import batch_of

pytestmark = pytest.mark.spark

META = {"method": "bayes", "batch_size": 32, "max_epochs": 2, "width": 8, "hidden": 8, "support_sizes": [0, 1, 3]}


@pytest.fixture(scope="module")
def meta_trained(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("meta")
    settings = meta_settings(folder, META)
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    pretrain.run(settings, night, spark)
    return settings, night, meta_train.run(settings, night, spark)


def meta_settings(folder, meta):
    settings = read_settings(folder)
    return replace(settings, meta=replace(settings.meta, **meta))


def load(night, purpose):
    return load_head(night.lake.at(model_location("r1", purpose, "meta", "all")))


def test_a_head_is_stored_for_each_measured_purpose(meta_trained):
    _, night, counts = meta_trained
    assert counts["heads"] == 2
    (_, validate), (_, backtest) = (load(night, purpose) for purpose in ("validate", "backtest"))
    assert validate.config.method == "bayes"
    assert validate.epochs == backtest.epochs
    assert validate.valid_ndcg == backtest.valid_ndcg
    assert validate.platt == backtest.platt
    assert set(validate.platt) == {"thin"}


def test_the_report_holds_the_head_against_every_baseline_at_every_size(meta_trained):
    _, night, counts = meta_trained
    rows = read_rows(night.lake, t.META_REPORT)
    assert counts["meta_report"] == len(rows)
    assert {row[c.DOMAIN] for row in rows} == {"thin"}
    assert {row["support"] for row in rows} == {"0", "1", "whole"}  # two thin events each, so none has three
    pairs = {(row[c.MODEL], row[c.BASELINE]) for row in rows}
    assert pairs == {
        ("bayes", "in_context"), ("bayes", "pooled"), ("bayes", "fine_tuned"), ("pooled", "in_context"),
        ("fine_tuned", "pooled"),
    }  # fmt: skip
    for row in rows:
        assert row[c.CI_LOW] <= row[c.DIFFERENCE] <= row[c.CI_HIGH]
        assert row[c.DIFFERENCE] == pytest.approx(row["value"] - row["baseline_value"])
        assert 0 < row[c.NUM_USERS] < NUM_USERS  # the others tuned


def test_the_stored_gate_is_what_the_interval_says(meta_trained):
    _, night, _ = meta_trained
    _, about = load(night, "validate")
    rows = read_rows(night.lake, t.META_REPORT)
    deciding = next(
        row for row in rows
        if (row[c.MODEL], row[c.BASELINE], row["support"], row[c.METRIC]) == ("bayes", "in_context", "whole", "ndcg")
    )  # fmt: skip
    assert about.is_on == {"thin": deciding[c.CI_LOW] > 0}
    assert {row["decision"] for row in rows} == {"on" if about.is_on["thin"] else "off"}
    assert f"{deciding['value']:.4f}" in deciding[c.REASON]


def test_the_log_has_both_heads_from_before_the_first_step(meta_trained):
    _, night, counts = meta_trained
    rows = read_rows(night.lake, t.TRAINING_LOG)
    logged = [row for row in rows if row["stage"] == "meta_train"]
    assert counts["training_log"] == len(logged)
    found = {(row[c.MODEL], row["epoch"]) for row in logged if row[c.PURPOSE] == "validate"}
    assert found == {(model, epoch) for model in ("meta.bayes", "meta.pooled") for epoch in (0, 1, 2)}


def test_without_a_method_nothing_is_trained(meta_trained, spark, tmp_path):
    _, night, _ = meta_trained
    off = meta_settings(tmp_path, {"method": "none"})
    assert meta_train.run(off, night, spark) == {"heads": 0, "models": 0, "meta_report": 0, "training_log": 0}


@pytest.fixture(scope="module")
def switched_on(spark, tmp_path_factory):
    """The same night, but that the gate lets every head through; up to the blend."""
    folder = tmp_path_factory.mktemp("on")
    settings = meta_settings(folder, META)
    settings = replace(settings, blend=replace(settings.blend, models=["target_only"], pool=10, min_users=5))
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    pretrain.run(settings, night, spark)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_train, "gate", lambda points, **kinds: (True, "asked for"))
        counts = meta_train.run(settings, night, spark)
    finetune.run(settings, night, spark)
    blend.run(settings, night, spark)
    return settings, night, counts


def adapted_rows(night):
    return [row for row in read_rows(night.lake, t.MODELS) if row[c.MODEL] == c.ADAPTED]


def test_a_head_that_is_on_becomes_a_model_of_each_purpose_and_one_that_is_off_does_not(switched_on, meta_trained):
    _, night, counts = switched_on
    assert counts["models"] == 2
    rows = adapted_rows(night)
    assert {(row[c.PURPOSE], row[c.DOMAIN], row[c.KIND]) for row in rows} == {
        ("validate", "thin", "head"), ("backtest", "thin", "head")
    }  # fmt: skip
    judged = [row for row in read_rows(night.lake, t.META_REPORT) if row[c.METRIC] == "ndcg"]
    whole = {row["value"] for row in judged if (row[c.MODEL], row["support"]) == ("bayes", "whole")}
    assert {row["valid_ndcg"] for row in rows} == whole
    _, off, _ = meta_trained
    assert not load(off, "validate")[1].is_on["thin"], "the world teaches a head nothing; else this compares nothing"
    assert adapted_rows(off) == []


def test_it_lists_what_the_head_says_and_joins_the_blend(spark, switched_on):
    settings, night, _ = switched_on
    blended = [row for row in read_rows(night.lake, t.MODELS) if row[c.MODEL] == c.CROSSREC]
    assert {row[c.PURPOSE]: json.loads(row["settings"])["sources"] for row in blended} == {
        purpose: ["target_only", "adapted"] for purpose in ("validate", "backtest")
    }
    models = read_models(night, c.VALIDATE, domains=["thin"])
    loaded = load_models(to_load(models, settings, night, spark, purpose=c.VALIDATE))
    by_name = {name: loaded[place] for place, name in enumerate(sorted(model.name for model in models))}
    users = batch_of([[(2, 1), (4, 1), (12, 2)], [(1, 1), (11, 2)]], max_len=8, seen={2: [[12], [11]]})
    scores = by_name[c.ADAPTED].score(users).block(0, 10)
    assert scores.shape == (2, 10)
    pretrained = load_checkpoint(night.lake.at(model_location("r1", c.VALIDATE, c.PRETRAINED, c.ALL_DOMAINS)))
    plain = in_context_scorer(pretrained, by_name[c.ADAPTED].candidates)(users).block(0, 10)
    assert not torch.equal(scores, plain)
    assert by_name[c.CROSSREC].score(users).block(0, 10).isfinite().all()


def test_serve_fits_the_head_and_all_beneath_it(spark, switched_on):
    settings, night, _ = switched_on
    row = one_model.fit_one(settings, night, spark, purpose=c.SERVE, model=c.ADAPTED, domain="thin")
    assert (row[c.PURPOSE], row[c.MODEL], row[c.KIND]) == ("serve", "adapted", "head")
    assert load(night, "serve")[1].epochs == load(night, "validate")[1].epochs
    folder = night.lake.at(model_location("r1", c.SERVE, c.ADAPTED, "thin"))
    assert load_about(folder).settings["valid_ndcg"] == row["valid_ndcg"] == adapted_rows(night)[0]["valid_ndcg"]


def test_a_head_that_is_off_when_asked_again_leaves_no_model(spark, switched_on, tmp_path):
    settings, night, _ = switched_on
    copied = Lake(str(tmp_path / "lake"))
    copytree(night.lake.path, copied.path)
    again = replace(night, lake=copied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_train, "gate", lambda points, **kinds: (False, "asked for"))
        meta_train.run(settings, again, spark)
    assert adapted_rows(again) == []
    assert not is_adapted(again, "thin")
