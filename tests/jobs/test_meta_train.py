"""meta_train on the hand-made parity world of test_training: an artifact, a report and a gate."""

from dataclasses import replace
from datetime import date

import pytest

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.lake import Lake, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.meta_artifacts import load_head
from jobs import meta_train, pretrain
from jobs.steps import Night
from tests.jobs.test_training import NUM_USERS, read_settings, write_world

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
    assert meta_train.run(off, night, spark) == {"heads": 0, "meta_report": 0, "training_log": 0}
