"""A process group in, what data-parallel training needs of it out. Alone, nothing is sent.

What sends is collective: all ranks call it, in the same order. A rank may have fewer batches than others, or
one without a target: it takes part in every step all the same, with nothing to add.

P parameters, R rows of a table, D width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from crossrec_core.tensors.inputs.batches import Batch

ABSENT, DENSE, SPARSE = 0, 1, 2  # gradients


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model."""

    rank: int = 0
    size: int = 1


def this_rank() -> Ranks:
    """Of the default process group; alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


def mix_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch on this rank: dropout, negatives and hidden ids differ between ranks and epochs."""
    ranks = this_rank()
    return (seed * 1_000_003 + epoch) * ranks.size + ranks.rank


def sum_over_ranks(values: Sequence[float], device: torch.device) -> list[float]:
    """The sums of numbers that every rank has its own of."""
    if this_rank().size == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return [float(value) for value in summed]


def in_step(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch | None]:
    """This rank's batches, then None for as long as another rank has one."""
    alone = this_rank().size == 1
    iterator = iter(batches)
    while True:
        batch = next(iterator, None)
        if batch is None and (alone or not sum_over_ranks([0.0], device)[0]):
            return
        if batch is not None and not alone:
            sum_over_ranks([1.0], device)
        yield batch


def average_gradients(parameters: Sequence[Tensor], *, num_losses: int, device: torch.device) -> None:
    """Put the mean of the ``num_losses`` gradients that ranks have in the place of this rank's own.

    Dense ones are summed as one vector. Of a table with sparse gradients every rank sends its touched rows.
    """
    if this_rank().size == 1:
        return
    kinds_P = torch.tensor([_kind(parameter) for parameter in parameters], device=device)
    dist.all_reduce(kinds_P, op=dist.ReduceOp.MAX)
    dense = [parameter for parameter, kind in zip(parameters, kinds_P.tolist(), strict=True) if kind == DENSE]
    if dense:
        flat = torch.cat([_or_zeros(parameter).flatten() for parameter in dense])
        dist.all_reduce(flat)
        parts = flat.div_(num_losses).split([parameter.numel() for parameter in dense])
        for parameter, part in zip(dense, parts, strict=True):
            parameter.grad = part.view_as(parameter)
    for parameter, kind in zip(parameters, kinds_P.tolist(), strict=True):
        if kind == SPARSE:
            parameter.grad = _gather_rows(parameter, num_losses=num_losses)


def _kind(parameter: Tensor) -> int:
    if parameter.grad is None:
        return ABSENT
    return SPARSE if parameter.grad.is_sparse else DENSE


def _or_zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _gather_rows(table_ID: Tensor, *, num_losses: int) -> Tensor:
    """The summed sparse gradient of all ranks over ``num_losses``; ranks send as many rows as the fullest has.

    A softmax over all candidates touches the same rows on every rank: their values are summed as they lie.
    """
    own = None if table_ID.grad is None else table_ID.grad.coalesce()
    rows_R = table_ID.new_zeros(0, dtype=torch.int64) if own is None else own.indices()[0]
    values_RD = table_ID.new_zeros(0, table_ID.shape[1]) if own is None else own.values()
    told = _all_gather(torch.stack((rows_R.new_tensor(len(rows_R)), rows_R.sum(), _mixed(rows_R).sum())))
    if all(torch.equal(each, told[0]) for each in told):
        dist.all_reduce(values_RD)
        return torch.sparse_coo_tensor(
            rows_R[None], values_RD.div_(num_losses), table_ID.shape, is_coalesced=True, check_invariants=False
        )
    sizes = [each[0] for each in told]
    most = max(int(size) for size in sizes)
    padding = most - len(rows_R)
    all_rows = _all_gather(torch.nn.functional.pad(rows_R, (0, padding)))
    all_values = _all_gather(torch.nn.functional.pad(values_RD, (0, 0, 0, padding)))
    rows = torch.cat([rows[: int(size)] for rows, size in zip(all_rows, sizes, strict=True)])
    values = torch.cat([values[: int(size)] for values, size in zip(all_values, sizes, strict=True)])
    return torch.sparse_coo_tensor(rows[None], values / num_losses, table_ID.shape, check_invariants=False).coalesce()


def _mixed(rows_R: Tensor) -> Tensor:
    """Numbers whose sum tells sets of rows apart: products in int64, which wrap round."""
    return (rows_R + 1) * 0x9E3779B97F4A7C1 * ((rows_R + 7) * 0x2545F4914F6CDD1 >> 17)


def _all_gather(values: Tensor) -> list[Tensor]:
    gathered = [torch.empty_like(values) for _ in range(this_rank().size)]
    dist.all_gather(gathered, values.contiguous())
    return gathered
