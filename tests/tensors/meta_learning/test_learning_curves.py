from dataclasses import replace

import torch

from crossrec_core.tensors.meta_learning.learning_curves import (
    LOG_LOSS,
    NDCG,
    WHOLE,
    Asking,
    CurvePoint,
    calibrate,
    gate,
    learning_curves,
    split_users,
)
from crossrec_core.tensors.meta_learning.meta_validation import Interval, Platt, in_context
from crossrec_core.tensors.training.validation import take_held_out
from tests.tensors.meta_learning.test_meta_validation import CANDIDATES, make_held_out
from tests.tensors.worlds import tiny_model

ASKING = Asking(num_support=4, num_negatives=4, num_ranked=10, seed=3)
ANSWERS = {"in_context": in_context, "worse": lambda tasks: -in_context(tasks)}
PAIRS = [("worse", "in_context")]


def point(low: float, *, support: str = WHOLE, metric: str = NDCG) -> CurvePoint:
    return CurvePoint("bayes", "in_context", support, metric, 10, 0.3, 0.2, Interval(0.1, low, 0.2), 50)


def test_users_tune_or_judge_never_both() -> None:
    held_out = make_held_out()
    tuning, judging = split_users(held_out)
    joined = torch.cat((tuning.user_nums_R, judging.user_nums_R)).sort().values
    assert torch.equal(joined, held_out.user_nums_R)
    assert min(len(tuning.truth_RT), len(judging.truth_RT)) > 15
    assert len(tuning.columns["item_nums"]) == len(tuning.truth_RT)


def test_curves_hold_the_users_that_have_so_many_events() -> None:
    model, held_out = tiny_model(), make_held_out()
    platt = calibrate(model, ANSWERS, held_out, CANDIDATES, ASKING)
    points = learning_curves(
        model, ANSWERS, held_out, CANDIDATES, ASKING, platt=platt, pairs=PAIRS, support_sizes=(3, 0, 99), samples=50
    )
    num_own = (held_out.columns["domain_nums"] == 2).sum(dim=1)
    counts = {found.support: found.num_users for found in points if found.metric == NDCG}
    assert counts == {"0": 60, "3": int((num_own >= 3).sum()), WHOLE: 60}
    assert {found.metric for found in points} == {NDCG, LOG_LOSS}
    assert all(found.interval.low <= found.interval.difference <= found.interval.high for found in points)
    assert all(abs(found.value - found.baseline_value - found.interval.difference) < 1e-9 for found in points)


def test_without_tuning_users_nothing_is_calibrated() -> None:
    nobody = take_held_out(make_held_out(), torch.arange(0))
    assert calibrate(tiny_model(), ANSWERS, nobody, CANDIDATES, ASKING) == dict.fromkeys(ANSWERS, Platt(1.0, 0.0))


def test_a_head_is_on_only_where_the_whole_interval_is_above_zero() -> None:
    assert gate([point(0.01)], model="bayes", baseline="in_context")[0]
    assert not gate([point(0.0)], model="bayes", baseline="in_context")[0]
    others = [point(0.01, support="3"), point(0.01, metric=LOG_LOSS), replace(point(0.01), baseline="pooled")]
    assert gate(others, model="bayes", baseline="in_context") == (False, "no validation users to judge by")
