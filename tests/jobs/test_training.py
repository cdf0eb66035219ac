"""pretrain and finetune on hand-made tables of a parity world; embed_text on a hand-made catalogue."""

from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path
from shutil import copytree

import pytest
import torch

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.lake import Lake, candidates_location, model_location
from crossrec_core.lake_reader import read_rows
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.network.checkpoint import load_checkpoint
from crossrec_core.tensors.retrieval.candidates import load_candidates
from crossrec_core.tensors.training.fit_state import save_state
from jobs import embed_text, finetune, pretrain, training
from jobs.ground import read_ground
from jobs.steps import Night
from jobs.training import count_rows, read_training_batches

pytestmark = pytest.mark.spark

MAX_LEN, NUM_USERS = 8, 64
DOMAINS = {"rich": 1, "thin": 2}  # items 1-10 and 11-20; even users touch even items
MODEL = {"width": 16, "heads": 2, "dropout": 0.0}
FIT = {"max_epochs": 2, "patience": 2, "batch_size": 16, "learning_rate": 1e-2}
SETTINGS = """
[domains.rich]
path = "rich.csv"
[domains.thin]
path = "thin.csv"
"""


def padded(values):
    return [*values, *[0] * (MAX_LEN - len(values))]


def sequence_row(user, purpose):
    """Five events of the user's parity, two of them thin, and one more after validation."""
    base = 2 - user % 2
    num_events = 5 if purpose == c.VALIDATE else 6
    items = [base + 2 * ((user // 2 + step) % 5) + (10 if step >= 3 else 0) for step in range(num_events)]
    lists = {
        c.ITEM_NUMS: items, c.DOMAIN_NUMS: [1 + (item > 10) for item in items], c.ACTION_NUMS: [1] * len(items),
        c.GAP_BUCKETS: [1] * len(items), c.SESSION_STARTS: [1] * len(items),
        c.EVENT_ORDERS: list(range(1, len(items) + 1)),
    }  # fmt: skip
    return {
        c.RUN_ID: "r1", c.PURPOSE: purpose, c.CLOCK: "time", c.USER_NUM: user, c.LENGTH: len(items),
        **{name: padded(values) for name, values in lists.items()},
    }  # fmt: skip


def write_world(lake):
    labels = [("domain", name, number) for name, number in DOMAINS.items()] + [("action", "interact", 1)]
    write_rows(lake, t.LABEL_IDS, [
        {c.RUN_ID: "r1", c.KIND: kind, c.LABEL_NAME: name, c.LABEL_NUM: number} for kind, name, number in labels
    ], append=True)  # fmt: skip
    write_rows(lake, t.ITEM_IDS, [
        {c.RUN_ID: "r1", c.ITEM_SPACE: "s", c.ITEM_ID: f"i{item}", c.ITEM_NUM: item} for item in range(1, 21)
    ], append=True)  # fmt: skip
    users, purposes = range(1, NUM_USERS + 1), (c.VALIDATE, c.BACKTEST, c.SERVE)
    write_rows(lake, t.SEQUENCES, [sequence_row(user, p) for p in purposes for user in users], append=True)
    write_rows(lake, t.ITEM_POPULARITY, [
        {c.RUN_ID: "r1", c.PURPOSE: purpose, c.DOMAIN: name, c.ITEM_NUM: item, c.NUM_EVENTS: 5, c.NUM_USERS: 5,
         c.WEIGHT: 5.0, c.RECENT_WEIGHT: 5.0, c.TREND_WEIGHTS: [1.0], c.IS_HEAD: False}
        for purpose in purposes for name, number in DOMAINS.items() for item in range(10 * number - 9, 10 * number + 1)
    ], append=True)  # fmt: skip
    write_rows(lake, t.SPLIT_INTERACTIONS, [
        {c.RUN_ID: "r1", c.DOMAIN: name, c.USER_NUM: 1, c.ITEM_NUM: item, c.ACTION_NUM: 1, c.WEIGHT: 1.0, c.VALUE: None,
         c.EVENT_TIME: None, c.EVENT_ORDER: item, c.TIE_BREAK: 0, c.SPLIT: c.TRAIN}
        for name, number in DOMAINS.items() for item in range(10 * number - 9, 10 * number + 1)
    ], append=True)  # fmt: skip
    held_out, pairs = [], []
    for user in users:
        row, truth = sequence_row(user, c.VALIDATE), sequence_row(user, c.BACKTEST)[c.ITEM_NUMS][5]
        held_out.append({**row, c.DOMAIN: "thin", c.TARGET_DOMAIN_NUM: 2, c.TRUTH_NUMS: padded([truth])})
        other = truth + 1 if truth % 2 else truth - 1
        pairs += [
            {c.RUN_ID: "r1", c.PURPOSE: c.VALIDATE, c.DOMAIN: "thin", c.USER_ID: f"u{user}", c.ITEM_ID: f"i{item}",
             c.USER_NUM: user, c.ITEM_NUM: item, c.LABEL: label}
            for item, label in ((truth, 1), (other, 0))
        ]  # fmt: skip
    write_rows(lake, t.VALIDATION_SEQUENCES, held_out, append=True)
    write_rows(lake, t.LABELLED_PAIRS, pairs, append=True)


def write_catalogue(lake, texts):
    rows = [
        {c.RUN_ID: "r1", c.DOMAIN: domain, c.ITEM_NUM: item, c.ITEM_ID: f"i{item}", c.TITLE: title, c.TEXT: text,
         c.CATEGORIES: [f"kind {item % 2}"], c.NUMERICS: {}, c.LABELS: {}}
        for domain, item, title, text in texts
    ]  # fmt: skip
    write_rows(lake, t.ITEM_FEATURES, rows, replace={c.RUN_ID: "r1"})


def read_settings(folder, *, model=MODEL, **train):
    (folder / "world.toml").write_text(SETTINGS)
    overrides = {
        "lake": {"path": str(folder / "lake")}, "text": {"dimensions": 4, "num_buckets": 64},
        "attributes": {"min_items": 1},
        "model": model, "sequences": {"max_len": MAX_LEN},
        "train": {"threads": 1, "pretrain": FIT, "finetune": FIT, "target_only": FIT, **train},
    }  # fmt: skip
    return read_config(folder / "world.toml", overrides=overrides)


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    settings = read_settings(folder)
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_world(night.lake)
    texts = [
        ("rich", 1, "green tea", None), ("rich", 2, "black tea", None), ("rich", 4, "iron pan", None),
        ("thin", 11, None, "green tea"), ("thin", 12, None, "black pan"),
    ]  # fmt: skip
    write_catalogue(night.lake, texts)
    counts = {
        "embed_text": embed_text.run(settings, night, spark), "pretrain": pretrain.run(settings, night, spark),
        "finetune": finetune.run(settings, night, spark),
    }  # fmt: skip
    return settings, night, counts


def test_training_reads_earlier_stretches_beside_the_sequences(spark, trained):
    settings, night, _ = trained
    before = read_ground(settings, night, spark, c.SERVE)
    rows = [{**sequence_row(user, c.SERVE), c.PART: 1} for user in (1, 2, 3)]
    write_rows(night.lake, t.EARLIER_SEQUENCES, rows, append=True)
    after = read_ground(settings, night, spark, c.SERVE)
    assert after.files == before.files
    counts = [count_rows(settings, each, settings.train.pretrain, lambda columns: columns) for each in (before, after)]
    assert counts == [NUM_USERS, NUM_USERS + 3]
    batches = read_training_batches(settings, after, settings.train.pretrain, lambda columns: columns, 1)
    assert sum(len(batch.items_BL) for batch in batches) == NUM_USERS + 3


def load(night, purpose, model, domain):
    return load_checkpoint(night.lake.at(model_location("r1", purpose, model, domain)))


def test_every_target_gets_both_models_for_each_measured_purpose(trained):
    _, night, counts = trained
    rows = read_rows(night.lake, t.MODELS)
    found = {(row[c.PURPOSE], row[c.MODEL], row[c.DOMAIN]) for row in rows}
    models, purposes = ("transferred", "target_only"), ("validate", "backtest")
    assert found == {(p, m, d) for p in purposes for m in models for d in DOMAINS}
    assert counts["finetune"]["models"] == len(rows) == 8
    assert counts["pretrain"]["models"] == 2
    assert all(row[c.KIND] == "neural" and row["seconds"] > 0 for row in rows)


def test_artifacts_hold_the_vectors_of_the_candidates(trained):
    _, night, _ = trained
    candidates = load_candidates(night.lake.at(candidates_location("r1", "backtest")))
    checkpoint = load(night, "backtest", "transferred", "thin")
    folder = night.lake.at(model_location("r1", "backtest", "transferred", "thin"))
    stored = read_tensors(Path(folder) / "vectors_VD.safetensors")["vectors_VD"]
    assert torch.equal(stored, checkpoint.model.item_vectors(candidates.items[2]))
    assert candidates.items[2].tolist() == list(range(11, 21))
    assert checkpoint.about.domain_num == 2


def test_the_ranker_of_validate_goes_with_the_backtest_model(trained):
    _, night, _ = trained
    validate, backtest = (load(night, purpose, "transferred", "thin").ranker for purpose in ("validate", "backtest"))
    assert validate.num_pairs == 2 * NUM_USERS
    assert torch.equal(validate.weights_F, backtest.weights_F)
    assert load(night, "validate", "transferred", "rich").ranker is None


def test_the_controls_ranker_sees_the_targets_events_alone(trained):
    """The mean of phi's log(1 + events): all users have five events, two of them thin."""
    _, night, _ = trained
    lengths = [load(night, "validate", model, "thin").ranker.mean_F[5] for model in ("transferred", "target_only")]
    assert [round(float(length.expm1())) for length in lengths] == [5, 2]


def test_a_refit_runs_the_epochs_that_validation_found(trained):
    _, night, _ = trained
    for domain in DOMAINS:
        validate, backtest = (load(night, p, "target_only", domain).about.settings for p in ("validate", "backtest"))
        assert backtest["epochs"] == validate["epochs"]
        assert backtest["valid_ndcg"] == validate["valid_ndcg"]


def test_the_training_log_has_every_epoch_of_every_stage(trained):
    _, night, counts = trained
    rows = read_rows(night.lake, t.TRAINING_LOG)
    assert len(rows) == counts["pretrain"]["training_log"] + counts["finetune"]["training_log"]
    models = {"pretrained", *(f"{model}.{domain}" for model in ("transferred", "target_only") for domain in DOMAINS)}
    assert {row[c.MODEL] for row in rows} == models
    losses = [row for row in rows if row[c.METRIC] == "loss" and row[c.PURPOSE] == "validate"]
    assert {row["epoch"] for row in losses if row[c.MODEL] == "pretrained"} == {1, 2}
    assert any(row[c.METRIC] == "valid_ndcg" and row["epoch"] == 0 for row in rows)


def test_the_best_strategy_on_validation_becomes_the_transferred_model(trained):
    _, night, _ = trained
    rows = read_rows(night.lake, t.TRAINING_LOG, where={c.PURPOSE: "validate", c.MODEL: "transferred.thin"})
    logged = defaultdict(float)
    for row in rows:
        if row[c.METRIC] == "valid_ndcg":
            logged[row["stage"]] = max(logged[row["stage"]], row["value"])
    about = load(night, "validate", "transferred", "thin").about.settings
    assert about["strategies"] == logged
    assert set(logged) == {"zero_shot", "parameter", "joint"}
    assert about["valid_ndcg"] == max(logged.values()) == logged[about["strategy"]]


def test_only_the_strategy_found_is_refitted(trained):
    _, night, _ = trained
    found = load(night, "validate", "transferred", "thin").about.settings
    refitted = load(night, "backtest", "transferred", "thin").about.settings
    assert all(refitted[name] == found[name] for name in ("strategy", "strategies", "epochs", "valid_ndcg"))
    rows = read_rows(night.lake, t.TRAINING_LOG, where={c.PURPOSE: "backtest", c.MODEL: "transferred.thin"})
    assert {row["stage"] for row in rows} <= {found["strategy"]}


def test_without_validation_one_strategy_is_fitted_untested(trained):
    _, night, _ = trained
    about = load(night, "validate", "transferred", "rich").about.settings
    assert (about["strategy"], about["strategies"]) == ("parameter", {"parameter": None})


def test_zero_shot_changes_nothing(trained, spark, tmp_path):
    settings, night, _ = trained
    copytree(settings.lake.path, tmp_path / "lake")
    copied = replace(night, lake=Lake(str(tmp_path / "lake")))
    counts = finetune.run(read_settings(tmp_path, transfer=["zero_shot"]), copied, spark)
    assert counts["models"] == 2 * len(DOMAINS)  # no control: it is not listed
    for purpose in ("validate", "backtest"):
        pretrained = load(copied, purpose, "pretrained", "all").model.state_dict()
        model = load(copied, purpose, "transferred", "thin").model.state_dict()
        assert all(torch.equal(pretrained[name], model[name]) for name in pretrained)


def test_text_reaches_the_models(trained):
    _, night, counts = trained
    vectors_IK = load(night, "validate", "transferred", "thin").model.items.text_vectors_IK
    assert vectors_IK[[1, 11]].any(dim=1).all()
    assert torch.equal(vectors_IK[1], vectors_IK[11])
    assert not vectors_IK[3].any()
    assert counts["embed_text"]["texts_fitted"] == counts["embed_text"]["item_vectors"] == 5


def test_attributes_reach_the_models(trained):
    _, night, counts = trained
    items = load(night, "validate", "transferred", "thin").model.items
    assert counts["embed_text"]["attribute_ids"] == len(items.attributes.weight) - 1 == 2
    assert torch.equal(items.attribute_nums_IA[1], items.attribute_nums_IA[11])
    assert not torch.equal(items.attribute_nums_IA[1], items.attribute_nums_IA[2])
    assert not items.attribute_nums_IA[3].any()


def test_the_winner_is_refitted_for_serve_with_its_pretrained_model(trained, spark):
    settings, night, _ = trained
    row = finetune.fit_for_purpose(settings, night, spark, purpose="serve", domain="thin", model="transferred")
    assert (row[c.PURPOSE], row[c.MODEL], row[c.DOMAIN]) == ("serve", "transferred", "thin")
    assert load(night, "serve", "transferred", "thin").ranker is not None
    assert load(night, "serve", "pretrained", "all").about.settings["epochs"] is not None


def test_without_refits_the_validated_weights_serve(trained, spark):
    settings, night, _ = trained
    frozen = replace(settings, train=replace(settings.train, refit_for_serve=False))
    finetune.fit_for_purpose(frozen, night, spark, purpose="serve", domain="thin", model="target_only")
    validate, serve = (load(night, p, "target_only", "thin").model.state_dict() for p in ("validate", "serve"))
    assert all(torch.equal(validate[name], serve[name]) for name in validate)


def test_a_catalogue_without_text_leaves_no_vectors(trained, spark, tmp_path):
    settings = read_settings(tmp_path)
    night = Night("r1", date(2024, 7, 1), Lake(settings.lake.path))
    write_catalogue(night.lake, [("rich", 1, None, ""), ("rich", 2, " ", None)])
    assert embed_text.run(settings, night, spark) == {
        "texts_fitted": 0, "item_vectors": 0, "attribute_ids": 0, "item_attributes": 0,
    }  # fmt: skip


def test_a_killed_pretraining_goes_on_from_its_last_epoch(trained, spark, tmp_path, monkeypatch):
    settings, night, _ = trained
    copytree(settings.lake.path, tmp_path / "lake")
    copied = replace(night, lake=Lake(str(tmp_path / "lake")))
    longer = read_settings(tmp_path, pretrain={**FIT, "max_epochs": 4, "patience": 4})
    ground = read_ground(longer, copied, spark, c.VALIDATE)
    pretrain.fit_pretrained(longer, ground)
    whole = load(copied, "validate", "pretrained", "all")

    def save_and_die(path, state, **about):
        save_state(path, state, **about)
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        pretrain.fit_pretrained(longer, ground)
    begun = []
    monkeypatch.setattr(training, "save_state", lambda path, state, **about: begun.append(state.epoch))
    num_logged = pretrain.fit_pretrained(longer, ground)
    resumed = load(copied, "validate", "pretrained", "all")

    assert begun == [3]
    logged = read_rows(copied.lake, t.TRAINING_LOG, where={c.MODEL: "pretrained", c.PURPOSE: "validate"})
    assert num_logged == len(logged)
    assert {row["epoch"] for row in logged} == {0, 1, 2, 3, 4}
    assert resumed.about == whole.about
    for name, values in whole.model.state_dict().items():
        assert torch.equal(values, resumed.model.state_dict()[name])


def test_models_trained_side_by_side_are_those_trained_one_by_one(trained, spark, tmp_path):
    settings, night, counts = trained
    copytree(settings.lake.path, tmp_path / "lake")
    copied = replace(night, lake=Lake(str(tmp_path / "lake")))
    assert finetune.run(read_settings(tmp_path, parallel_fits=2), copied, spark) == counts["finetune"]
    one_by_one, side_by_side = (
        {(row[c.PURPOSE], row[c.MODEL], row[c.DOMAIN]): row["settings"] for row in read_rows(each.lake, t.MODELS)}
        for each in (night, copied)
    )
    assert side_by_side == one_by_one
    weights = [load(each, "backtest", "transferred", "thin").model.state_dict() for each in (night, copied)]
    assert all(torch.equal(values, weights[1][name]) for name, values in weights[0].items())
    logs = [sorted(map(str, read_rows(each.lake, t.TRAINING_LOG, where={c.MODEL: "transferred.thin"})))
            for each in (night, copied)]  # fmt: skip
    assert len(logs[0]) == len(logs[1]) > 0


def test_a_stage_without_epochs_is_skipped(trained, spark, tmp_path):
    settings, night, _ = trained
    copytree(settings.lake.path, tmp_path / "lake")
    copied = replace(night, lake=Lake(str(tmp_path / "lake")))
    finetune.run(read_settings(tmp_path, finetune={**FIT, "max_epochs": 0}), copied, spark)
    rows = read_rows(copied.lake, t.MODELS, where={c.PURPOSE: c.VALIDATE})
    assert {row[c.MODEL] for row in rows} == {"target_only"}


def test_the_settings_of_the_model_reach_its_checkpoint(trained, spark, tmp_path):
    settings, night, _ = trained
    copytree(settings.lake.path, tmp_path / "lake")
    copied = replace(night, lake=Lake(str(tmp_path / "lake")))
    shape = {
        "encoder": "bert", "relative_bias": "time", "adapter_rank": 2, "mask_share": 0.5, "mask_last_share": 0.25,
    }  # fmt: skip
    masked = read_settings(tmp_path, model={**MODEL, **shape, "normalise_inputs": "never"})
    pretrain.run(masked, copied, spark)
    finetune.fit_for_purpose(masked, copied, spark, purpose="backtest", domain="thin", model="transferred")
    config = load(copied, "backtest", "transferred", "thin").model.config
    assert {name: getattr(config, name) for name in shape} == shape
    assert config.normalise_inputs is False  # auto would be true here


def test_a_backtest_alone_refits_what_was_chosen_and_leaves_validate_as_it_is(trained, spark, tmp_path):
    settings, night, _ = trained
    copytree(settings.lake.path, tmp_path / "lake")
    night = replace(night, lake=Lake(str(tmp_path / "lake")))
    chosen = load(night, "validate", "pretrained", "all"), load(night, "backtest", "pretrained", "all")
    other = replace(settings, train=replace(settings.train, seed=99, purposes=["backtest"]))
    assert pretrain.run(other, night, spark)["models"] == 1
    assert finetune.run(other, night, spark)["models"] == 2 * len(DOMAINS)
    found = [load(night, purpose, "pretrained", "all") for purpose in ("validate", "backtest")]
    assert torch.equal(chosen[0].model.items.ids, found[0].model.items.ids)
    assert not torch.equal(chosen[1].model.items.ids, found[1].model.items.ids)
    assert found[1].about.settings["epochs"] == chosen[0].about.settings["epochs"]
