from dataclasses import replace

import pytest
import torch
from torch import Tensor

from crossrec_core.tensors.meta_learning.meta_validation import (
    Judged,
    Platt,
    fit_platt,
    in_context,
    judge,
    log_loss,
    paired_interval,
)
from crossrec_core.tensors.meta_learning.task_features import Tasks
from crossrec_core.tensors.retrieval.candidates import Candidates
from crossrec_core.tensors.training.validation import HeldOut, mean_ndcg, take_held_out
from tests.tensors.worlds import parity_columns, tiny_model

NUMS_V = torch.arange(11, 21)
CANDIDATES = Candidates({2: NUMS_V}, {2: torch.linspace(0.05, 0.15, 10)}, {}, {"b": 2}, "f")
ASKING = {"num_support": 4, "num_negatives": 4, "num_ranked": 10, "seed": 3}


def make_held_out(*, exclude_seen: bool = True) -> HeldOut:
    """Users with up to five events, the first with none, and one or two held-out items."""
    columns = parity_columns(60, 6)
    has_event = (torch.arange(6) < 5) & (torch.arange(60).unsqueeze(1) > 0)
    columns = {name: values * has_event for name, values in columns.items()}
    truth_RT = torch.rand(60, 10, generator=torch.Generator().manual_seed(1)).argsort(dim=1)[:, :2] + 11
    truth_RT[::3, 1] = 0
    return HeldOut(columns, truth_RT, torch.arange(60), 2, exclude_seen)


def test_in_context_lists_are_those_of_the_full_ranking() -> None:
    model, held_out = tiny_model(), take_held_out(make_held_out(exclude_seen=False), torch.arange(1, 60))
    judged = judge(model, {"in_context": in_context}, held_out, CANDIDATES, num_kept=None, **ASKING)
    assert float(judged["in_context"].ndcg_R.mean()) == pytest.approx(mean_ndcg(model, held_out, NUMS_V), rel=1e-5)
    assert 0 < float(judged["in_context"].ndcg_R.mean()) < 1


def test_a_head_that_knows_the_truth_has_a_perfect_list_and_one_that_knows_nothing_keeps_the_order() -> None:
    model, held_out = tiny_model(), make_held_out(exclude_seen=False)

    def oracle(tasks: Tasks) -> Tensor:
        """Finds the truth among the listed candidates by its features."""
        is_truth = tasks.query_labels_TQ * tasks.query_mask_TQ > 0
        same = (tasks.query_TQF.unsqueeze(2) - tasks.query_TQF.unsqueeze(1)).abs().amax(dim=3) < 1e-6
        return (same & is_truth.unsqueeze(1)).any(dim=2).float()

    answers = {"oracle": oracle, "flat": lambda tasks: torch.zeros_like(tasks.query_labels_TQ), "as_is": in_context}
    judged = judge(model, answers, held_out, CANDIDATES, num_kept=None, **ASKING)
    torch.testing.assert_close(judged["oracle"].ndcg_R, torch.ones(60).double())
    assert torch.equal(judged["flat"].ndcg_R, judged["as_is"].ndcg_R)


def test_a_cut_history_hides_events_but_lists_nothing_the_user_has() -> None:
    model, held_out = tiny_model(), make_held_out()
    own = held_out.columns["item_nums"] * (held_out.columns["domain_nums"] == 2)
    held_out = replace(held_out, truth_RT=own[:, :5])  # all that the user has: never in a list
    seen: dict[int | None, Tensor] = {}
    for num_kept in (None, 1, 0):

        def ask(tasks: Tasks, num_kept: int | None = num_kept) -> Tensor:
            seen[num_kept] = tasks.support_mask_TK.view(len(tasks.domains_T), -1, 5)[..., 0].sum(dim=1)
            return tasks.query_TQF[..., 0]

        judged = judge(model, {"m": ask}, held_out, CANDIDATES, num_kept=num_kept, **ASKING)
        assert not judged["m"].ndcg_R.any()
    num_own = (own > 0).sum(dim=1)
    assert torch.equal(seen[None], num_own.clamp(max=4).float())
    assert torch.equal(seen[1], num_own.clamp(max=1).float())
    assert not seen[0].any()


def test_only_the_best_in_context_candidates_are_ranked_anew() -> None:
    model, held_out = tiny_model(), make_held_out(exclude_seen=False)

    def reverse(tasks: Tasks) -> Tensor:
        return -tasks.query_TQF[..., 0]

    few = {**ASKING, "num_ranked": 1}
    judged = judge(model, {"reverse": reverse, "as_is": in_context}, held_out, CANDIDATES, num_kept=None, **few)
    assert torch.equal(judged["reverse"].ndcg_R, judged["as_is"].ndcg_R)
    judged = judge(model, {"reverse": reverse, "as_is": in_context}, held_out, CANDIDATES, num_kept=None, **ASKING)
    assert not torch.equal(judged["reverse"].ndcg_R, judged["as_is"].ndcg_R)


def test_two_numbers_calibrate_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_RC = torch.randn(400, 20, generator=generator)
    labels_RC = (torch.rand(400, 20, generator=generator) < torch.sigmoid(2 * logits_RC - 1)).float()
    mask_RC = (torch.rand(400, 20, generator=generator) < 0.8).float()
    judged = Judged(torch.zeros(400), logits_RC, torch.where(mask_RC > 0, labels_RC, 1.0), mask_RC)
    platt = fit_platt(judged)
    assert (platt.slope, platt.offset) == pytest.approx((2, -1), abs=0.15)
    assert log_loss(judged, platt).mean() < log_loss(judged, Platt(1.0, 0.0)).mean()
    assert fit_platt(replace(judged, mask_RC=torch.zeros(400, 20))) == Platt(1.0, 0.0)


def test_log_loss_is_each_users_mean_over_what_counts() -> None:
    logits, labels, mask = (torch.tensor([[a, b]]) for a, b in ((0.0, 9.0), (1.0, 1.0), (1.0, 0.0)))
    found = log_loss(Judged(torch.zeros(1), logits, labels, mask), Platt(1.0, 0.0))
    assert float(found) == pytest.approx(0.6931, abs=1e-4)
    assert log_loss(Judged(torch.zeros(1), logits, labels, 0 * mask), Platt(1.0, 0.0)).isnan().all()


def test_the_interval_is_the_bootstraps() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() + 0.5
    found = paired_interval(torch.cat((values, torch.tensor([torch.nan]).double())), samples=2_000, seed=1)
    half = 1.96 * float(values.std(correction=0)) / 20
    assert found.difference == pytest.approx(float(values.mean()))
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=0.01)
