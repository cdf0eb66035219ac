"""What a CPU says, a GPU says too: losses, gradients, fits, validation, heads. Skipped where there is no GPU."""

import copy
import dataclasses

import pytest
import torch
import torch.distributed as dist

from crossrec_core.tensors.devices import autocast
from crossrec_core.tensors.inputs.batches import move_batch, to_batch
from crossrec_core.tensors.meta_learning.meta_heads import HeadConfig, build_head
from crossrec_core.tensors.training import fused_softmax
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.fit_state import load_state, save_state
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.validation import HeldOut, mean_ndcg
from tests.tensors.meta_learning.test_meta import ADAPTING, F, linear_world
from tests.tensors.worlds import parity_columns, random_columns, tiny_attributes, tiny_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CANDIDATES = {1: torch.arange(1, 11), 2: torch.arange(11, 21)}
PLAN = FitPlan(
    max_epochs=6, num_epochs=6, steps_per_epoch=4, patience=6, learning_rate=2e-2, weight_decay=0.01,
    warmup_share=0.1, clip_norm=1.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def whole_float32():
    """Products of 19 bits are another matter."""
    precision, allowed = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = allowed


def step_of(model, device, *, full_softmax_items=100):
    return make_step(
        model, {number: nums_V.to(device) for number, nums_V in CANDIDATES.items()},
        full_softmax_items=full_softmax_items, num_negatives=40, domain_temperature=1.0,
        generator=torch.Generator(device).manual_seed(1), reconstruction=0.1 if model.config.text_dimensions else 0.0,
    )  # fmt: skip


def parity_batches(epoch):
    columns = parity_columns(seed=epoch)
    return [to_batch({name: rows[start : start + 32] for name, rows in columns.items()}) for start in range(0, 128, 32)]


def gradients(model, device):
    loss = step_of(model, device)(move_batch(to_batch(random_columns(64, 8, seed=5)), device))
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return float(loss.detach()), {name: grad.to_dense().cpu() for name, grad in found.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"relative_bias": "time_and_position"}, {"adapter_rank": 2}, {"encoder": "hstu"},
        {"encoder": "hstu", "relative_bias": "time_and_position"}, {"encoder": "lstm"}, {"encoder": "gru"},
        {"encoder": "bert", "mask_last_share": 1.0}, {"text_dimensions": 6},
    ],
    ids=lambda changes: ", ".join(f"{name} {value}" for name, value in changes.items()) or "gpt",
)  # fmt: skip
def test_loss_and_gradients_are_those_of_a_cpu(changes):
    attributes, attribute_sizes = tiny_attributes()
    texts_IK = torch.randn(21, 6, generator=torch.Generator().manual_seed(2)) if "text_dimensions" in changes else None
    here = tiny_model(text_vectors_IK=texts_IK, attributes=attributes, **attribute_sizes, **changes).train()
    there = copy.deepcopy(here).to(GPU)
    loss, expected = gradients(here, CPU)
    gpu_loss, found = gradients(there, GPU)
    assert gpu_loss == pytest.approx(loss, rel=1e-4)
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("full_softmax_items", [100, 0])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_fit_learns_as_much(bf16, full_softmax_items):
    losses = {}
    for device in (CPU, GPU):
        model, reports = tiny_model().to(device), []
        step = step_of(model, device, full_softmax_items=full_softmax_items)
        fit(model, parity_batches, step, plan=PLAN, seed=0, device=device, bf16=bf16, on_epoch=reports.append)
        losses[device] = [report.metrics["loss"] for report in reports]
    assert losses[GPU][-1] < losses[GPU][0] - 0.3
    assert losses[GPU][-1] == pytest.approx(losses[CPU][-1], abs=0.1)


def test_a_fit_goes_on_where_it_stopped(tmp_path):
    def run(num_epochs, *, start=None, on_state=None):
        model = tiny_model(dropout=0.2).to(GPU)
        fit(
            model, parity_batches, step_of(model, GPU), plan=dataclasses.replace(PLAN, num_epochs=num_epochs), seed=3,
            device=GPU, start=start, on_state=on_state,
        )  # fmt: skip
        return model.state_dict()

    path = str(tmp_path / "state")

    def keep(state):
        if state.epoch == 2:
            save_state(path, state, made_with="this", log=[])

    whole = run(5, on_state=keep)
    state, _ = load_state(path, made_with="this")
    resumed = run(5, start=state)
    # Sums on a GPU are added up in any order
    for name, values in whole.items():
        torch.testing.assert_close(resumed[name], values, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: name + text)


def test_validation_is_that_of_a_cpu():
    columns = random_columns(64, 8, seed=5)
    held_out = HeldOut(columns, torch.randint(1, 11, (64, 3), generator=torch.Generator().manual_seed(1)),
                       torch.arange(64), 1, True)  # fmt: skip
    model = tiny_model()
    expected = mean_ndcg(model, held_out, CANDIDATES[1], n=2)  # among more would be seen items, which tie
    assert 0 < expected < 1
    assert mean_ndcg(model.to(GPU), held_out, CANDIDATES[1].to(GPU), n=2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [8, 10_000])
def test_the_whole_softmax_keeps_its_loss_and_gradients_in_bfloat16(monkeypatch, rows, smoothing):
    monkeypatch.setattr(fused_softmax, "MIN_ROWS", rows)
    monkeypatch.setattr(fused_softmax, "GPU_BLOCK_SHARE", 0.0)
    generator = torch.Generator().manual_seed(4)
    queries_PD, vectors_VD = (torch.randn(rows, 16, generator=generator).to(GPU) for rows in (3_000, 500))
    places_P = torch.randint(500, (3_000,), generator=generator).to(GPU)
    found = []
    for bf16 in (False, True):
        inputs = [values.clone().requires_grad_() for values in (queries_PD, vectors_VD)]
        with autocast(GPU, bf16=bf16):
            loss = fused_softmax.linear_cross_entropy(*inputs, places_P, smoothing=smoothing)
        found.append((loss, *torch.autograd.grad(loss, inputs)))
    for own, other in zip(*found, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize("method", ADAPTING)
def test_heads_adapt_as_on_a_cpu(method):
    head, tasks = build_head(HeadConfig(method, F, 1, 8, 8, 3, 1.0), seed=0), linear_world(32, seed=1)
    expected = head(tasks)
    moved = type(tasks)(**{field.name: getattr(tasks, field.name).to(GPU) for field in dataclasses.fields(tasks)})
    # The closed form's solves in float32 differ by half a thousandth of a logit
    torch.testing.assert_close(head.to(GPU)(moved).cpu(), expected, rtol=1e-3, atol=1e-3)


def test_ranks_meet_over_nccl(tmp_path):
    alone, reports = tiny_model().to(GPU), []
    fit(alone, parity_batches, step_of(alone, GPU), plan=PLAN, seed=0, device=GPU, on_epoch=reports.append)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/group", rank=0, world_size=1, device_id=GPU)
    try:
        model, in_group = tiny_model().to(GPU), []
        fit(model, parity_batches, step_of(model, GPU), plan=PLAN, seed=0, device=GPU, on_epoch=in_group.append)
    finally:
        dist.destroy_process_group()
    losses, expected = ([report.metrics["loss"] for report in run] for run in (in_group, reports))
    assert losses == pytest.approx(expected, rel=1e-2)
