"""What each strategy may change: frozen parameters keep their bits, the pull is its formula, the share its schedule."""

import dataclasses
import re

import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import to_batch
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.strategies import (
    FEW_PARAMETERS_RATE,
    freeze,
    joint_mix,
    joint_weights,
    learning_rates,
    target_share,
    with_source_pull,
)
from tests.tensors.worlds import parity_columns, tiny_model

CPU = torch.device("cpu")
TARGET, SOURCE = 2, 1
CANDIDATES = {SOURCE: torch.arange(1, 11), TARGET: torch.arange(11, 21)}
PLAN = FitPlan(
    max_epochs=2, num_epochs=2, steps_per_epoch=2, patience=2, learning_rate=1e-2, weight_decay=0.1, warmup_share=0.1,
    clip_norm=1.0,
)  # fmt: skip
TEXT_IK = torch.randn(21, 4, generator=torch.Generator().manual_seed(3)).half()


def batches(epoch):
    columns = parity_columns(64, seed=epoch)
    return [to_batch({name: values[start : start + 32] for name, values in columns.items()}) for start in (0, 32)]


def step_of(model, domains, mix=None):
    return make_step(
        model, {domain: CANDIDATES[domain] for domain in domains}, full_softmax_items=100, num_negatives=5,
        domain_temperature=0.6, generator=torch.Generator().manual_seed(1), mix=mix,
    )  # fmt: skip


def moved_by(strategy, *, pull=0.0):
    """The parameters that two epochs on the target change, and those weights' states before and after."""
    model = tiny_model(dropout=0.1, id_dropout=0.1, text_dimensions=4, text_vectors_IK=TEXT_IK)
    rates = learning_rates(model, strategy=strategy, layer_decay=0.8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    freeze(model, rates)
    step = step_of(model, [TARGET])
    step = with_source_pull(step, model, strength=pull) if pull else step
    fit(model, batches, step, plan=PLAN, seed=0, device=CPU, rates=rates)
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}, before, after


def test_feature_moves_the_item_vectors_and_the_head_and_leaves_every_bit_of_the_encoder():
    moved, _, _ = moved_by(c.FEATURE)
    assert moved == {"items.ids", "items.text_map.weight", "last_norm.weight", "target_domains.weight"}


def test_adapter_without_adapters_moves_the_norms_and_the_targets_own_token_alone():
    moved, before, after = moved_by(c.ADAPTER)
    norms = {f"blocks.{block}.{norm}_norm.weight" for block in (0, 1) for norm in ("attention", "ffn")}
    assert moved == {*norms, "last_norm.weight", "target_domains.weight"}
    token = "target_domains.weight"
    assert (before[token] != after[token]).any(dim=1).tolist() == [False, False, True]


def test_adapters_learn_with_the_strategy_of_their_name_and_rest_with_the_frozen_encoder():
    model = tiny_model()
    model.blocks[0].adapters = torch.nn.ParameterDict({"2": torch.nn.Parameter(torch.zeros(2, 2))})
    name = "blocks.0.adapters.2"
    assert learning_rates(model, strategy=c.ADAPTER, layer_decay=0.8)[name] == FEW_PARAMETERS_RATE
    assert learning_rates(model, strategy=c.FEATURE, layer_decay=0.8)[name] == 0
    assert learning_rates(model, strategy=c.PARAMETER, layer_decay=0.8)[name] == pytest.approx(0.8**2)


def test_zero_shot_freezes_everything():
    model = tiny_model()
    freeze(model, learning_rates(model, strategy=c.ZERO_SHOT, layer_decay=0.8))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("strategy", [c.PARAMETER, c.JOINT, c.TARGET_ONLY])
def test_the_others_move_every_block(strategy):
    moved, before, _ = moved_by(strategy, pull=0.1 if strategy == c.PARAMETER else 0.0)
    assert moved == set(before)


def test_lower_layers_learn_slower_with_parameter_transfer():
    rates = learning_rates(tiny_model(layers=3), strategy=c.PARAMETER, layer_decay=0.5)
    by_block = [rates[f"blocks.{block}.qkv.weight"] for block in range(3)]
    assert by_block == [0.125, 0.25, 0.5]
    assert rates["domains.weight"] == rates["gaps.weight"] == 0.0625
    assert rates["items.ids"] == rates["last_norm.weight"] == rates["target_domains.weight"] == 1.0


def test_a_rate_scales_the_first_step():
    """Adam's first step is the learning rate in every coordinate with a gradient, whatever the gradient's size."""
    model = tiny_model()
    rates = {name: 0.25 if re.match(r"blocks\.0\.", name) else 1.0 for name, _ in model.named_parameters()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan = dataclasses.replace(PLAN, max_epochs=1, num_epochs=1, weight_decay=0.0, warmup_share=0.0)
    fit(model, lambda epoch: batches(epoch)[:1], step_of(model, [TARGET]), plan=plan, seed=0, device=CPU, rates=rates)
    largest = {name: (value - before[name]).abs().max().item() for name, value in model.state_dict().items()}
    assert largest["blocks.0.qkv.weight"] == pytest.approx(0.25 * plan.learning_rate, rel=1e-3)
    assert largest["blocks.1.qkv.weight"] == pytest.approx(plan.learning_rate, rel=1e-3)


def test_the_pull_to_the_source_has_the_gradient_of_its_formula_and_keeps_the_item_table_sparse():
    model = tiny_model()
    plain, pulled = step_of(model, [TARGET]), with_source_pull(step_of(model, [TARGET]), model, strength=0.3)
    source = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.5)
    gradients = []
    for step in (plain, pulled):
        model.zero_grad(set_to_none=True)
        step(batches(1)[0]).backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, value in model.named_parameters():
        if name == "items.ids":
            assert gradients[1][name].is_sparse
            torch.testing.assert_close(gradients[1][name].to_dense(), gradients[0][name].to_dense())
        else:
            own = gradients[0][name] if gradients[0][name] is not None else torch.zeros_like(value)
            torch.testing.assert_close(gradients[1][name], own + 0.3 * (value.detach() - source[name]))


def test_the_targets_share_grows_on_a_line_from_its_start_to_one():
    shares = [target_share(at, start=0.5, total_batches=4) for at in range(6)]
    assert shares == [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]


def test_the_sources_divide_what_the_target_leaves_by_their_tempered_counts():
    weights = joint_weights({1: 16, 2: 9, 3: 4}, target=3, share=0.75, temperature=0.5)
    assert weights == pytest.approx({1: 0.25 * 4 / 7, 2: 0.25 * 3 / 7, 3: 0.75})
    assert joint_weights({1: 16}, target=3, share=0.75, temperature=0.5) == {1: 0.25}
    assert joint_weights({3: 5}, target=3, share=0.75, temperature=0.5) == {3: 0.75}


def test_joint_training_weighs_each_batch_by_the_schedule():
    mix = joint_mix(target=TARGET, start=0.5, total_batches=2, temperature=1.0)
    losses, counts = {SOURCE: torch.tensor(8.0), TARGET: torch.tensor(2.0)}, {SOURCE: 3, TARGET: 1}
    assert [mix(losses, counts).item() for _ in range(3)] == [5.0, 3.5, 2.0]


def test_joint_training_learns_from_both_domains_in_one_step():
    model, batch = tiny_model(), batches(1)[0]
    mix = joint_mix(target=TARGET, start=0.75, total_batches=10, temperature=1.0)
    loss = step_of(model, [SOURCE, TARGET], mix)(batch)
    source, target = (step_of(model, [domain])(batch) for domain in (SOURCE, TARGET))
    torch.testing.assert_close(loss, 0.25 * source + 0.75 * target)
    loss.backward()
    assert model.target_domains.weight.grad.any(dim=1).tolist() == [False, True, True]
