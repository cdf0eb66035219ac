"""Training in a process group of two: gradients, uneven ranks, and the weights that one process would have."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crossrec_core.tensors.inputs.batches import to_batch
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.ranks import Ranks, average_gradients, in_step, sum_over_ranks, this_rank
from tests.tensors.worlds import parity_columns, tiny_model

CPU = torch.device("cpu")
PLAN = FitPlan(
    max_epochs=3, num_epochs=3, steps_per_epoch=4, patience=3, learning_rate=2e-2, weight_decay=0.01,
    warmup_share=0.1, clip_norm=1.0,
)  # fmt: skip
RUN = """
import pickle, sys
import torch.distributed as dist
from tests.tensors.training import test_ranks
rank, size, name, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
result = getattr(test_ranks, name)(rank)
pickle.dump(result, open(f"{folder}/{rank}", "wb"))
dist.barrier()
dist.destroy_process_group()
"""


def on_two_ranks(name, folder: Path):
    """What a function of this module returns on each rank."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RUN, str(rank), "2", name, str(folder)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


def chunks_of(epoch, size):
    columns = parity_columns(seed=epoch)
    return [{name: values[start : start + size] for name, values in columns.items()} for start in range(0, 128, size)]


def train(batches):
    model, reports = tiny_model(dropout=0.0), []
    step = make_step(
        model, {1: torch.arange(1, 11), 2: torch.arange(11, 21)}, full_softmax_items=100, num_negatives=40,
        domain_temperature=1.0, generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    fit(model, batches, step, plan=PLAN, seed=0, device=CPU, on_epoch=reports.append)
    return model.state_dict(), [report.metrics["loss"] for report in reports], [report.step for report in reports]


def half_batches(rank):
    """Every batch of 32 rows is shared by the ranks, a half each."""
    return train(lambda epoch: [to_batch(chunk) for chunk in chunks_of(epoch, 16)[rank::2]])


def uneven_batches(rank):
    """The second rank ends after one batch of four."""
    return train(lambda epoch: [to_batch(chunk) for chunk in chunks_of(epoch, 32)[: 4 if rank == 0 else 1]])


def made_up_gradients(rank):
    dense, table, unused, only_first = (torch.zeros(3, 2, requires_grad=True) for _ in range(4))
    dense.grad = torch.full((3, 2), 1.0 + rank)
    if rank == 0:
        only_first.grad = torch.full((3, 2), 8.0)
        table.grad = torch.sparse_coo_tensor([[0, 2, 2]], [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], (3, 2))
    else:
        table.grad = torch.sparse_coo_tensor([[2]], [[8.0, 8.0]], (3, 2))
    average_gradients([dense, table, unused, only_first], num_losses=2, device=CPU)
    counted = sum_over_ranks([1.0, float(rank)], CPU)
    batches = [object()] * (1 + 2 * rank)
    steps = [batch is not None for batch in in_step(batches, CPU)]
    return dense.grad, table.grad.to_dense(), table.grad.is_sparse, unused.grad, only_first.grad, counted, steps


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    return on_two_ranks("made_up_gradients", tmp_path_factory.mktemp("gradients"))


def test_gradients_are_averaged_and_rows_of_a_table_stay_sparse(gradients):
    for dense, table, is_sparse, unused, only_first, _, _ in gradients:
        assert torch.equal(dense, torch.full((3, 2), 1.5))
        assert torch.equal(table, torch.tensor([[0.5, 0.5], [0, 0], [7.0, 7.0]]))
        assert is_sparse
        assert unused is None
        assert torch.equal(only_first, torch.full((3, 2), 4.0))


def test_ranks_step_together_until_the_last_one_is_done(gradients):
    assert [result[5] for result in gradients] == [[2.0, 1.0], [2.0, 1.0]]
    assert [result[6] for result in gradients] == [[True, False, False], [True, True, True]]


def test_two_ranks_end_with_the_weights_of_one_that_reads_whole_batches(tmp_path):
    (weights, losses, steps), (others, other_losses, _) = on_two_ranks("half_batches", tmp_path)
    alone, losses_alone, steps_alone = train(lambda epoch: [to_batch(chunk) for chunk in chunks_of(epoch, 32)])

    assert all(torch.equal(values, others[name]) for name, values in weights.items())
    assert steps == steps_alone
    assert losses == other_losses == pytest.approx(losses_alone, abs=1e-4)
    for name, values in alone.items():
        assert torch.allclose(weights[name], values, atol=2e-3), name


def test_a_rank_that_runs_out_goes_on_with_the_others(tmp_path):
    (weights, losses, steps), (others, other_losses, other_steps) = on_two_ranks("uneven_batches", tmp_path)

    assert steps == other_steps == [4, 8, 12]
    assert losses == other_losses
    assert all(torch.equal(values, others[name]) for name, values in weights.items())


def test_alone_nothing_is_sent():
    assert this_rank() == Ranks(0, 1)
    assert sum_over_ranks([3.0], CPU) == [3.0]
    assert list(in_step([], CPU)) == []
