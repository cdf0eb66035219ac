import dataclasses
import itertools
import math

import pytest
import torch

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.inputs.batches import to_batch
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.negatives import draw_by_events
from crossrec_core.tensors.training.optimiser import clip_gradients, learning_rate_at
from crossrec_core.tensors.training.pretrain import make_step
from tests.tensors.worlds import parity_columns, tiny_model

CPU = torch.device("cpu")
CANDIDATES = {1: torch.arange(1, 11), 2: torch.arange(11, 21)}
PLAN = FitPlan(
    max_epochs=6, num_epochs=6, steps_per_epoch=4, patience=6, learning_rate=2e-2, weight_decay=0.01,
    warmup_share=0.1, clip_norm=1.0,
)  # fmt: skip


def parity_batches(epoch):
    columns = parity_columns(seed=epoch)
    chunks = [{name: values[start : start + 32] for name, values in columns.items()} for start in range(0, 128, 32)]
    return [to_batch(chunk) for chunk in chunks]


def step_of(model, *, full_softmax_items=100):
    return make_step(
        model, CANDIDATES, full_softmax_items=full_softmax_items, num_negatives=40, domain_temperature=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip


def run_fit(model, *, plan=PLAN, seed=0, **options):
    reports = []
    step = step_of(model)
    result = fit(model, parity_batches, step, plan=plan, seed=seed, device=CPU, on_epoch=reports.append, **options)
    return result, reports


@pytest.mark.parametrize(("sizes", "is_full"), [(None, True), ({1: 1_000, 2: 1_000}, False)])
def test_sizes_decide_between_whole_and_sampled_softmax(sizes, is_full):
    model, generator = tiny_model(), torch.Generator().manual_seed(0)
    step = make_step(
        model, CANDIDATES, full_softmax_items=100, num_negatives=40, domain_temperature=1.0, generator=generator,
        sizes=sizes,
    )  # fmt: skip
    before = generator.get_state()
    step(next(iter(parity_batches(1))))
    assert torch.equal(generator.get_state(), before) == is_full  # only negatives are drawn


def test_draws_say_which_negatives_come_and_the_loss_is_corrected_for_them():
    batch, losses = parity_batches(1)[0], {}
    for name, draws in {
        "full": None, "alike": {number: draw_by_events(torch.ones(10), power=0.0) for number in CANDIDATES},
        "by events": {number: draw_by_events(torch.arange(1.0, 11.0), power=1.0) for number in CANDIDATES},
    }.items():  # fmt: skip
        step = make_step(
            tiny_model(), CANDIDATES, full_softmax_items=0 if draws else 100, num_negatives=20_000,
            domain_temperature=1.0, generator=torch.Generator().manual_seed(1), draws=draws,
        )  # fmt: skip
        losses[name] = float(step(batch).detach())
    assert losses["alike"] == pytest.approx(losses["full"], rel=0.01)
    assert losses["by events"] == pytest.approx(losses["full"], rel=0.01)


@pytest.mark.parametrize(("full_softmax_items", "fall"), [(100, 0.2), (0, 0.1)])
def test_loss_falls_and_users_get_items_of_their_parity(full_softmax_items, fall):
    model = tiny_model(dropout=0.1)
    reports = []
    fit(model, parity_batches, step_of(model, full_softmax_items=full_softmax_items), plan=PLAN, seed=0, device=CPU,
        on_epoch=reports.append)  # fmt: skip
    losses = [report.metrics["loss"] for report in reports]
    assert losses[-1] < losses[0] - fall
    batch = parity_batches(99)[0]
    hidden = model(batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, batch.orders_BL)
    scores_BV = model.query(hidden[:, -1], torch.ones(32, dtype=torch.long)) @ model.item_vectors(CANDIDATES[1]).T
    best_B = scores_BV.argmax(dim=1) + 1
    assert ((best_B % 2) == torch.arange(32) % 2).float().mean() > 0.9


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu", "lstm"])
@pytest.mark.parametrize("full_softmax_items", [100, 0])
def test_bfloat16_learns_what_float32_learns(monkeypatch, encoder, full_softmax_items):
    if encoder == "lstm" and not torch.cpu.get_capabilities().get("avx512_bw"):
        pytest.skip("oneDNN's LSTM has no bfloat16 without AVX-512; other products are made of float32 there")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    losses = {}
    for bf16 in (False, True):
        model, reports = tiny_model(encoder=encoder, relative_bias="none"), []
        fit(model, parity_batches, step_of(model, full_softmax_items=full_softmax_items), plan=PLAN, seed=0, device=CPU,
            bf16=bf16, on_epoch=reports.append)  # fmt: skip
        assert all(weights.dtype == torch.float32 for weights in model.parameters())
        losses[bf16] = reports[-1].metrics["loss"]
    assert losses[False] != losses[True]
    assert losses[True] == pytest.approx(losses[False], rel=0.05)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    plan = dataclasses.replace(PLAN, num_epochs=2)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    models = [tiny_model(dropout=0.3) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        run_fit(model, plan=plan, seed=seed)
    first, second, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_early_stop_keeps_the_best_weights():
    model, seen = tiny_model(), []
    values = iter([0.1, 0.3, 0.2, 0.25, 0.9])

    def validate():
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(values)

    result, reports = run_fit(model, plan=dataclasses.replace(PLAN, patience=2), validate=validate)
    assert (result.best_epoch, result.best_ndcg) == (1, 0.3)
    assert [report.epoch for report in reports] == [0, 1, 2, 3]
    assert all(torch.equal(model.state_dict()[name], seen[1][name]) for name in seen[1])


def test_a_start_that_training_only_worsens_is_kept():
    model = tiny_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    values = iter([0.5, 0.4, 0.3])
    result, _ = run_fit(model, plan=dataclasses.replace(PLAN, patience=2), validate=lambda: next(values))
    assert result.best_epoch == 0
    assert all(torch.equal(model.state_dict()[name], start[name]) for name in start)


def test_a_refit_for_fewer_epochs_repeats_the_schedule_of_the_longer_one():
    long, short = tiny_model(), tiny_model()
    weights = []

    def validate():
        weights.append({name: value.clone() for name, value in long.state_dict().items()})
        return 0.0

    run_fit(long, validate=validate)
    run_fit(short, plan=dataclasses.replace(PLAN, num_epochs=3))
    assert all(torch.equal(short.state_dict()[name], weights[3][name]) for name in weights[3])


def test_the_average_of_the_weights_is_what_is_judged_and_kept():
    plan = dataclasses.replace(PLAN, ema_decay=0.9, num_epochs=3)
    model, plain, judged = tiny_model(), tiny_model(), []

    def validate():
        judged.append({name: value.clone() for name, value in model.state_dict().items()})
        return float(len(judged))

    run_fit(model, plan=plan, validate=validate)
    run_fit(plain, plan=dataclasses.replace(plan, ema_decay=0.0))
    assert all(torch.equal(model.state_dict()[name], judged[3][name]) for name in judged[3])
    assert not torch.equal(model.items.ids, plain.items.ids)
    refitted = tiny_model()
    run_fit(refitted, plan=plan)
    assert all(torch.equal(refitted.state_dict()[name], judged[3][name]) for name in judged[3])


def test_the_average_does_not_change_the_steps():
    averaged, plain, losses = tiny_model(), tiny_model(), []
    for model, decay in ((averaged, 0.9), (plain, 0.0)):
        values = itertools.count()
        _, reports = run_fit(
            model, plan=dataclasses.replace(PLAN, ema_decay=decay, num_epochs=3), validate=lambda v=values: next(v)
        )
        losses.append([report.metrics["loss"] for report in reports[1:]])
    assert losses[0] == losses[1]


def test_a_loss_that_is_no_number_is_an_error():
    model = tiny_model()
    with torch.no_grad():
        model.last_norm.weight.fill_(torch.nan)
    with pytest.raises(CrossRecError, match="learning_rate"):
        run_fit(model)


def test_only_items_in_the_batch_or_its_negatives_move():
    model = tiny_model(num_items=40)
    before = model.items.ids.detach().clone()
    run_fit(model, plan=dataclasses.replace(PLAN, num_epochs=1))
    moved = (model.items.ids != before).any(dim=1).nonzero().ravel().tolist()
    assert moved == list(range(1, 21))


def test_gradients_are_clipped_to_one_common_norm():
    model = tiny_model()
    step_of(model)(parity_batches(1)[0]).backward()
    dense = torch.cat([p.grad.to_dense().ravel() for p in model.parameters() if p.grad is not None])
    norm = clip_gradients(list(model.parameters()), 1e-3)
    clipped = torch.cat([p.grad.to_dense().ravel() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(norm, dense.norm())
    torch.testing.assert_close(clipped, dense * (1e-3 / (norm + 1e-6)))


SHAPE = {"peak": 1.0, "warmup_steps": 10, "total_steps": 110}


@pytest.mark.parametrize(("schedule", "quarter"), [("cosine", 0.1 + 0.45 * (1 + math.cos(math.pi / 4))),
                                                   ("linear", 0.1 + 0.9 * 0.75)])  # fmt: skip
def test_learning_rate_warms_up_and_falls_to_a_tenth(schedule, quarter):
    rates = [learning_rate_at(step, schedule=schedule, **SHAPE) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[35] == pytest.approx(quarter)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_a_constant_learning_rate_stays_where_the_warm_up_ends():
    rates = [learning_rate_at(step, schedule="constant", **SHAPE) for step in range(111)]
    assert rates[4] == pytest.approx(0.5)
    assert set(rates[9:]) == {1.0}
