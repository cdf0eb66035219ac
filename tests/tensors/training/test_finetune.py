import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import drop_without_targets, keep_domain
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.finetune import (
    as_read_by,
    best_strategy,
    build_model,
    pick_joint_rows,
    pick_rows,
    pick_source_rows,
    silence_untouched,
    untested_strategy,
)
from crossrec_core.tensors.training.validation import HeldOut
from tests.tensors.worlds import config, random_columns


def test_the_control_sees_no_event_of_another_domain():
    rows = pick_rows(random_columns(40, 8), strategy=c.TARGET_ONLY, domain_num=2)
    assert set(rows["domain_nums"].unique().tolist()) <= {0, 2}
    assert ((rows["domain_nums"] == 2).sum(dim=1) >= 2).all()


def test_the_transferred_model_sees_mixed_sequences_that_hold_a_target():
    columns = random_columns(40, 8)
    rows = pick_rows(columns, strategy=c.PARAMETER, domain_num=2)
    assert (rows["domain_nums"] == 1).any()
    assert (rows["domain_nums"][:, 1:] == 2).any(dim=1).all()
    kept = drop_without_targets(keep_domain(columns, 2), torch.tensor([2]))
    assert len(rows["item_nums"]) >= len(kept["item_nums"])


def test_the_control_is_validated_on_what_it_is_trained_on():
    columns = random_columns(40, 8)
    held_out = HeldOut(columns, torch.ones(40, 1, dtype=torch.int64), torch.arange(40), 2, True)
    assert set(as_read_by(held_out, model_name=c.TARGET_ONLY).columns["domain_nums"].unique().tolist()) <= {0, 2}
    assert as_read_by(held_out, model_name=c.TRANSFERRED) is held_out


def drawn(columns, share):
    generator = torch.Generator().manual_seed(1)
    return pick_joint_rows(columns, domain_num=2, source_nums=torch.tensor([1]), share=share, generator=generator)


def test_joint_training_sees_all_rows_of_the_target_and_a_share_of_the_others():
    columns = random_columns(400, 3)
    own = pick_rows(columns, strategy=c.JOINT, domain_num=2)
    others = pick_source_rows(columns, domain_num=2, source_nums=torch.tensor([1]))
    assert not (others["domain_nums"][:, 1:] == 2).any()
    assert (others["domain_nums"][:, 1:] == 1).any(dim=1).all()
    num_own, num_others = len(own["item_nums"]), len(others["item_nums"])
    assert len(drawn(columns, 0.0)["item_nums"]) == num_own
    assert len(drawn(columns, 1.0)["item_nums"]) == num_own + num_others
    assert num_own < len(drawn(columns, 0.5)["item_nums"]) < num_own + num_others


@pytest.mark.parametrize(
    ("valid_ndcg", "best"),
    [
        ({"zero_shot": 0.1, "parameter": 0.3, "joint": 0.2}, "parameter"),
        ({"joint": 0.3, "parameter": 0.3}, "parameter"),  # a tie: the one that changes less
        ({"zero_shot": None, "joint": None, "parameter": None}, "parameter"),  # nothing is measured
        ({"target_only": None}, "target_only"),
    ],
)
def test_the_best_strategy_on_validation_is_chosen(valid_ndcg, best):
    assert best_strategy(valid_ndcg) == best


def test_untested_the_order_says_which_strategy():
    assert untested_strategy(["zero_shot", "joint"]) == "joint"


def test_the_seed_alone_makes_the_weights():
    models = [build_model(config(), seed=seed, text_vectors_IK=None) for seed in (1, 1, 2)]
    assert torch.equal(models[0].items.ids, models[1].items.ids)
    assert not torch.equal(models[0].items.ids, models[2].items.ids)


def test_items_and_domains_without_a_known_event_are_silent_and_stay_so():
    model = build_model(config(), seed=1, text_vectors_IK=None)
    before = model.items.ids.detach().clone()
    items = {1: torch.tensor([2, 4, 6]), 2: torch.tensor([4, 8])}
    touched = {1: torch.tensor([True, True, False]), 2: torch.zeros(2, dtype=torch.bool)}
    silence_untouched(model, Candidates(items, {}, {}, {"a": 1, "b": 2}, "f", touched))
    known = torch.tensor([2, 4])
    assert torch.equal(model.items.ids[known], before[known])
    assert model.items.ids.abs().sum() == before[known].abs().sum()
    assert bool(model.target_domains.weight[1].any())
    assert not bool(model.target_domains.weight[2].any() or model.domains.weight[2].any())
