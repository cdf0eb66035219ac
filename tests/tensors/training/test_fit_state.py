"""A fit that was stopped between two epochs ends as one that was not."""

import dataclasses
import math

import pytest
import torch

from crossrec_core.tensors.folders import remove_folder
from crossrec_core.tensors.inputs.batches import to_batch
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.fit_state import load_state, save_state
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.ranks import mix_seed
from tests.tensors.worlds import parity_columns, tiny_model

CPU = torch.device("cpu")
PLAN = FitPlan(
    max_epochs=5, num_epochs=5, steps_per_epoch=4, patience=5, learning_rate=2e-2, weight_decay=0.01,
    warmup_share=0.1, clip_norm=1.0,
)  # fmt: skip
VALUES = [0.1, 0.5, 0.4, 0.3, 0.45, 0.2]  # by epoch: the first has the best weights


class StoppedError(Exception):
    """The kill."""


def run(plan, *, validated, start=None, on_state=None):
    """Dropout, sampled negatives and hidden ids all draw."""
    model, reports, generator = tiny_model(dropout=0.2, id_dropout=0.2), [], torch.Generator()
    values = iter(VALUES if start is None else VALUES[start.epoch + 1 :])
    step = make_step(
        model, {1: torch.arange(1, 11), 2: torch.arange(11, 21)}, full_softmax_items=0, num_negatives=8,
        domain_temperature=1.0, generator=generator,
    )  # fmt: skip

    def batches(epoch):
        generator.manual_seed(mix_seed(3, epoch))
        columns = parity_columns(seed=epoch)
        for first in range(0, 128, 32):
            yield to_batch({name: rows[first : first + 32] for name, rows in columns.items()})

    fitted = fit(
        model, batches, step, plan=plan, seed=3, device=CPU, on_epoch=reports.append, start=start, on_state=on_state,
        validate=(lambda: next(values)) if validated else None,
    )  # fmt: skip
    return model.state_dict(), fitted, reports


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_fit_goes_on_as_if_it_had_not_been_stopped(tmp_path, validated, ema_decay, stopped_after):
    plan, path = dataclasses.replace(PLAN, ema_decay=ema_decay), str(tmp_path / "state")

    def keep(state):
        save_state(path, state, made_with="this", log=[{"epoch": state.epoch}])
        if state.epoch == stopped_after:
            raise StoppedError

    whole, fitted_whole, reports_whole = run(plan, validated=validated)
    with pytest.raises(StoppedError):
        run(plan, validated=validated, on_state=keep)
    state, log = load_state(path, made_with="this")
    resumed, fitted, reports = run(plan, validated=validated, start=state)

    assert log == [{"epoch": stopped_after}]
    assert [report.epoch for report in reports] == list(range(stopped_after + 1, 6))
    assert [report.step for report in reports] == [report.step for report in reports_whole][stopped_after - 5 :]
    assert fitted == fitted_whole
    assert fitted.best_epoch == (1 if validated else 5)
    assert all(torch.equal(values, whole[name]) for name, values in resumed.items())


def test_the_state_of_another_fit_or_none_is_no_start(tmp_path):
    path = str(tmp_path / "state")
    assert load_state(path, made_with="this") is None
    run(dataclasses.replace(PLAN, num_epochs=2), validated=False,
        on_state=lambda state: save_state(path, state, made_with="this", log=[]))  # fmt: skip
    assert load_state(path, made_with="that") is None
    state, _ = load_state(path, made_with="this")
    assert (state.epoch, state.best_value) == (1, -math.inf)
    remove_folder(path)
    remove_folder(path)
    assert load_state(path, made_with="this") is None
