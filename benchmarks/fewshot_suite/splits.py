"""Users in, few-shot tasks out: who trains, tunes and tests, which of a user's ratings are asked and which are known.

T tasks, K ratings of a user (padded), S support ratings, Q query ratings.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from benchmarks.fewshot_suite.ratings import MAX_RATINGS

NUM_QUERY = 10
WHOLE = MAX_RATINGS  # the support size that leaves all there is
SIZES = (0, 1, 2, 3, 5, 8, 16, WHOLE)


@dataclass(frozen=True)
class Split:
    """Rows of users, 8 : 1 : 1."""

    train: Tensor
    valid: Tensor
    test: Tensor


@dataclass(frozen=True)
class Drawn:
    """The ratings of each task by place in its user's row."""

    users_T: Tensor
    query_TQ: Tensor
    support_TS: Tensor
    mask_TS: Tensor  # float64, 1 for a rating that the task's support has


def split_users(num_users: int, *, seed: int) -> Split:
    """Split users at random, 8 : 1 : 1."""
    order = torch.randperm(num_users, generator=torch.Generator().manual_seed(seed))
    tenth = num_users // 10
    return Split(order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth])


def draw_tasks(mask_UK: Tensor, users_T: Tensor, *, generator: Generator) -> Drawn:
    """Ask about ten ratings of each user, drawn at random; the support is the rest, in a random order.

    The order makes a smaller support a part of every larger one.
    """
    mask_TK = mask_UK[users_T]
    keys_TK = torch.rand(mask_TK.shape, generator=generator, dtype=torch.float64) + (1 - mask_TK)
    order_TK = keys_TK.argsort(dim=1)
    query_TQ, support_TS = order_TK[:, :NUM_QUERY], order_TK[:, NUM_QUERY:]
    return Drawn(users_T, query_TQ, support_TS, mask_TK.gather(1, support_TS))


def keep_support(drawn: Drawn, sizes_T: Tensor) -> Drawn:
    """Leave each task the first ``sizes_T`` ratings of its support."""
    return replace(drawn, mask_TS=drawn.mask_TS * (torch.arange(drawn.mask_TS.shape[1]) < sizes_T[:, None]))


def draw_sizes(num_tasks: int, *, generator: Generator) -> Tensor:
    """A support size for each task, every one as likely."""
    return torch.tensor(SIZES)[torch.randint(len(SIZES), (num_tasks,), generator=generator)]
