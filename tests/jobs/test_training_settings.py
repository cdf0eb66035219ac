"""What the settings of training reach."""

from dataclasses import replace

import torch

from crossrec_core.config import read_config
from crossrec_core.tensors.training.finetune import build_model
from jobs.training import train
from tests.jobs.test_folds import SETTINGS, ground_of, write_users

FIT = {"max_epochs": 2, "patience": 2, "batch_size": 16, "learning_rate": 1e-2}
CHANGES = {
    "as they are": {},
    "crop": {"augment": {"crop_share": 1.0}},
    "mask": {"augment": {"mask_share": 0.3}},
    "reorder": {"augment": {"reorder_share": 1.0}},
    "ties": {"augment": {"shuffle_ties": True}},
    "a bucket": {"augment": {"shuffle_within_bucket": 1}},
    "temperature": {"temperature": 0.5},
    "smoothing": {"target_only": {"label_smoothing": 0.2}},
    "average": {"target_only": {"ema_decay": 0.5}},
    "schedule": {"target_only": {"schedule": "constant"}},
}


EVENT_SHARES = torch.arange(1.0, 11.0) / 55
SAMPLED = {"full_softmax_items": 0, "num_negatives": 8}


def fit_with(folder, train_settings, *, epochs=None, model_settings=None):
    own = {**FIT, **train_settings.get("target_only", {})}
    (folder / "x.toml").write_text(SETTINGS)
    rules = {"train": {"threads": 1, **train_settings, "target_only": own}, "model": model_settings or {}}
    settings = read_config(folder / "x.toml", overrides=rules)
    ground = ground_of(folder, write_users(folder))
    ground = replace(ground, candidates=replace(ground.candidates, events=dict.fromkeys((1, 2), EVENT_SHARES)))
    model = build_model(ground.config, seed=1, text_vectors_IK=None)
    trained = train(settings, ground, model, settings.train.target_only, label="x", domains=["rich"],
                    pick_rows=lambda rows: rows, epochs=epochs)  # fmt: skip
    return model.items.ids.detach(), [report.metrics.get("valid_ndcg") for report in trained.reports]


def test_every_setting_changes_the_fit(tmp_path):
    tables = [fit_with(tmp_path, change, epochs=2)[0] for change in CHANGES.values()]
    same = [(a, b) for a in range(len(tables)) for b in range(a) if torch.equal(tables[a], tables[b])]
    assert same == []
    assert torch.equal(fit_with(tmp_path, {}, epochs=2)[0], tables[0])


def test_the_draw_of_negatives_and_its_correction_change_the_fit(tmp_path):
    plain, corrected, by_events, again = (
        fit_with(tmp_path, {}, epochs=2, model_settings={**SAMPLED, **draw})[0]
        for draw in (
            {"log_q": False, "negatives_power": 0.0}, {"negatives_power": 0.0}, {"negatives_power": 1.0},
            {"negatives_power": 0.0},
        )
    )  # fmt: skip
    assert torch.equal(corrected, again)
    assert not torch.equal(plain, corrected)
    assert not torch.equal(corrected, by_events)


def test_augmentation_does_not_touch_the_rows_that_judge(tmp_path):
    still = {"target_only": {"learning_rate": 1e-30}}
    everything = {
        "crop_share": 1.0, "mask_share": 0.5, "reorder_share": 1.0, "shuffle_ties": True, "shuffle_within_bucket": 5,
    }  # fmt: skip
    _, plain = fit_with(tmp_path, still)
    _, changed = fit_with(tmp_path, {**still, "augment": everything})
    assert plain == changed
    assert plain[0] == plain[1] > 0


def test_what_hears_the_epochs_may_stop_the_fit(tmp_path):
    (tmp_path / "x.toml").write_text(SETTINGS)
    settings = read_config(tmp_path / "x.toml", overrides={"train": {"threads": 1, "target_only": FIT}})
    ground, heard = ground_of(tmp_path, write_users(tmp_path)), []

    def hear(report):
        heard.append(report.epoch)
        if report.epoch == 1:
            raise InterruptedError

    model = build_model(ground.config, seed=1, text_vectors_IK=None)
    try:
        train(settings, ground, model, settings.train.target_only, label="x", domains=["rich"],
              pick_rows=lambda rows: rows, epochs=None, on_epoch=hear)  # fmt: skip
    except InterruptedError:
        assert heard == [0, 1]
    else:
        raise AssertionError("the fit went on")
