from collections.abc import Iterator
from math import exp, log

import pytest
import torch
from torch import Tensor

from crossrec_core import columns as c
from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.meta_learning.meta import TaskPlan, make_tasks, outer_loss, train_heads
from crossrec_core.tensors.meta_learning.meta_heads import POOLED, HeadConfig, build_head
from crossrec_core.tensors.meta_learning.task_features import Tasks
from crossrec_core.tensors.retrieval.candidates import Candidates
from tests.tensors.worlds import parity_columns, tiny_model

F = 4
ADAPTING = ["bayes", "maml", "fomaml", "anil", "reptile", "prototypes", "neural_process"]


def linear_world(num_tasks: int, *, seed: int, num_support: int = 16, num_query: int = 16) -> Tasks:
    """Users differ in whether they like the second feature or its opposite: only their support tells."""
    generator = torch.Generator().manual_seed(seed)
    x_TNF = torch.randn(num_tasks, num_support + num_query, F, generator=generator)
    taste_T1 = torch.randint(0, 2, (num_tasks, 1), generator=generator) * 2.0 - 1
    chance_TN = torch.sigmoid(x_TNF[..., 0] + 3 * taste_T1 * x_TNF[..., 1])
    labels_TN = (torch.rand(chance_TN.shape, generator=generator) < chance_TN).float()
    ones = torch.ones(num_tasks, num_support + num_query)
    parts = [values.split((num_support, num_query), dim=1) for values in (x_TNF, labels_TN, ones)]
    return Tasks(*(part[0] for part in parts), *(part[1] for part in parts), torch.ones(num_tasks, dtype=torch.int64))


def train(methods: list[str], *, num_epochs: int | dict[str, int] = 4, **changes: object):
    heads = {name: build_head(HeadConfig(name, F, 1, 8, 8, 3, 1.0), seed=0) for name in methods}

    def batches(epoch: int) -> Iterator[dict[int, Tasks]]:
        return ({1: linear_world(128, seed=100 * epoch + step)} for step in range(20))

    how = {
        "num_epochs": num_epochs if isinstance(num_epochs, dict) else dict.fromkeys(methods, num_epochs),
        "learning_rate": 1e-2, "domain_temperature": 1.0,
        "generator": torch.Generator().manual_seed(0), "validate": None,
    }  # fmt: skip
    return heads, train_heads(heads, batches, **{**how, **changes})


def log_loss(head: torch.nn.Module, tasks: Tasks) -> float:
    with torch.no_grad():
        return float(torch.nn.functional.binary_cross_entropy_with_logits(head(tasks), tasks.query_labels_TQ))


def test_every_learner_beats_no_adaptation_where_only_the_support_tells() -> None:
    heads, _ = train([*ADAPTING, POOLED])
    tasks = linear_world(400, seed=99_999)
    losses = {name: log_loss(head, tasks) for name, head in heads.items()}
    for name in ADAPTING:
        assert losses[name] < losses[POOLED] - 0.08, losses
    assert losses["bayes"] < losses[POOLED] - 0.2


def test_the_outer_loss_is_written_out() -> None:
    logits_TQ = torch.tensor([[1.0, -1.0, 5.0], [2.0, 0.0, 0.0]])
    labels_TQ, mask_TQ = torch.tensor([[1.0, 0, 0], [0, 0, 0]]), torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    empty = torch.zeros(2, 0, 1)
    tasks = Tasks(empty, empty[..., 0], empty[..., 0], empty, labels_TQ, mask_TQ, torch.ones(2, dtype=torch.int64))
    sigmoid = [1 / (1 + exp(-1)), 1 / (1 + exp(1))]
    pointwise = -(log(sigmoid[0]) + log(1 - sigmoid[1])) / 2
    listwise = -log(sigmoid[0] / sum(sigmoid))
    assert float(outer_loss(logits_TQ, tasks)) == pytest.approx(pointwise + listwise, rel=1e-5)


def test_the_best_epoch_is_kept_the_start_included() -> None:
    weights: list[Tensor] = []

    def validate(heads):
        weights.append(heads[POOLED].linear.weights_P.detach().clone())
        return {POOLED: [0.3, 0.5, 0.4][len(weights) - 1]}

    heads, fitted = train([POOLED], num_epochs=2, validate=validate)
    assert (fitted[POOLED].best_epoch, fitted[POOLED].best_value) == (1, 0.5)
    assert torch.equal(heads[POOLED].linear.weights_P, weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert [(report.epoch, report.metrics["valid_ndcg"]) for report in fitted[POOLED].epochs] == [
        (0, 0.3), (1, 0.5), (2, 0.4),
    ]  # fmt: skip


def test_each_head_runs_its_own_epochs_and_the_same_seed_gives_the_same_weights() -> None:
    heads, fitted = train(["bayes", POOLED], num_epochs={"bayes": 2, POOLED: 1})
    alone, _ = train([POOLED], num_epochs=1)
    assert [fitted[name].best_epoch for name in ("bayes", POOLED)] == [2, 1]
    assert torch.equal(heads[POOLED].linear.weights_P, alone[POOLED].linear.weights_P)


def test_a_loss_that_is_no_number_says_what_to_lower() -> None:
    with pytest.raises(CrossRecError, match=r"lower meta\.learning_rate"):
        train(["maml"], num_epochs=1, learning_rate=1e25)


def parity_tasks(*, num_ranked: int) -> Tasks:
    columns = {**parity_columns(), c.EVENT_ORDERS: torch.arange(1, 9).expand(128, 8)}
    candidates = Candidates(
        {1: torch.arange(1, 11), 2: torch.arange(11, 21)}, {d: torch.full((10,), 0.1) for d in (1, 2)}, {}, {}, "f"
    )
    plan, generator = TaskPlan((0, 1, 3), 2, 4, num_ranked), torch.Generator().manual_seed(0)
    tasks = make_tasks(tiny_model(), columns, 2, candidates, plan=plan, generator=generator)
    assert tasks is not None
    return tasks


def test_a_query_is_asked_among_what_a_head_is_shown_at_scoring() -> None:
    everything, best_only = parity_tasks(num_ranked=10), parity_tasks(num_ranked=1)
    scores_TQM, asked_TQM = (
        values.view(-1, 2, 5) for values in (best_only.query_TQF[..., 0], best_only.query_mask_TQ > 0)
    )
    is_both_TQM = asked_TQM & asked_TQM[..., :1]
    assert is_both_TQM[..., 1:].any()
    assert (scores_TQM[..., :1] >= scores_TQM - 1e-6)[is_both_TQM].all()  # the list is one item, and the truth is on it
    assert not (asked_TQM & ~asked_TQM[..., :1]).any()
    assert best_only.query_mask_TQ.view(-1, 2, 5)[..., 0].sum() < everything.query_mask_TQ.view(-1, 2, 5)[..., 0].sum()


def test_tasks_are_cut_from_sequences_of_each_domain() -> None:
    columns = {**parity_columns(), c.EVENT_ORDERS: torch.arange(1, 9).expand(128, 8)}
    candidates = Candidates(
        {1: torch.arange(1, 11), 2: torch.arange(11, 21)}, {d: torch.full((10,), 0.1) for d in (1, 2)}, {}, {}, "f"
    )
    plan, generator = TaskPlan((0, 1, 3), 2, 4, 10), torch.Generator().manual_seed(0)
    tasks = make_tasks(tiny_model(), columns, 2, candidates, plan=plan, generator=generator)
    assert tasks.support_TKF.shape[:2] == (len(tasks.domains_T), 3 * 5)
    assert tasks.query_TQF.shape[:2] == (len(tasks.domains_T), 2 * 5)
    assert set(tasks.domains_T.tolist()) == {2}
    assert (tasks.query_labels_TQ * tasks.query_mask_TQ)[:, 0].all()
    only_first = {name: values * (torch.arange(8) < 1) for name, values in columns.items()}
    assert make_tasks(tiny_model(), only_first, 2, candidates, plan=plan, generator=generator) is None
