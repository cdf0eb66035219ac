import torch

from crossrec_core import columns as c
from crossrec_core.tensors.batches import drop_without_targets, keep_domain
from crossrec_core.tensors.finetune import as_read_by, build_model, pick_rows
from crossrec_core.tensors.validation import HeldOut
from tests.tensors.worlds import config, random_columns


def test_the_control_sees_no_event_of_another_domain():
    rows = pick_rows(random_columns(40, 8), model_name=c.TARGET_ONLY, domain_num=2)
    assert set(rows["domain_nums"].unique().tolist()) <= {0, 2}
    assert ((rows["domain_nums"] == 2).sum(dim=1) >= 2).all()


def test_the_transferred_model_sees_mixed_sequences_that_hold_a_target():
    columns = random_columns(40, 8)
    rows = pick_rows(columns, model_name=c.TRANSFERRED, domain_num=2)
    assert (rows["domain_nums"] == 1).any()
    assert (rows["domain_nums"][:, 1:] == 2).any(dim=1).all()
    kept = drop_without_targets(keep_domain(columns, 2), torch.tensor([2]))
    assert len(rows["item_nums"]) >= len(kept["item_nums"])


def test_the_control_is_validated_on_what_it_is_trained_on():
    columns = random_columns(40, 8)
    held_out = HeldOut(columns, torch.ones(40, 1, dtype=torch.int64), torch.arange(40), 2, True)
    assert set(as_read_by(held_out, model_name=c.TARGET_ONLY).columns["domain_nums"].unique().tolist()) <= {0, 2}
    assert as_read_by(held_out, model_name=c.TRANSFERRED) is held_out


def test_the_seed_alone_makes_the_weights():
    models = [build_model(config(), seed=seed, text_vectors_IK=None) for seed in (1, 1, 2)]
    assert torch.equal(models[0].items.ids, models[1].items.ids)
    assert not torch.equal(models[0].items.ids, models[2].items.ids)
