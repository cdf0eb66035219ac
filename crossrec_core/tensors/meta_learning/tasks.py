"""Columns of sequences in, meta-learning tasks out: the support and the query of each user in one domain.

R rows (a task each), L length, K support events, Q query events, S events, N negatives, C pairs, V candidates. Tasks
are cut here and not in Spark: a row of sequences has all that a task needs, each epoch draws other cuts of the same
row, and a cut is a few comparisons of a whole batch.

The rule against leaks: the query is what a user did in the domain from some moment on, and everything that is said of
this user about the query's candidates comes from events strictly before that moment. An event of the same time as the
first query event is on the query's side. A support event, in turn, is described as it looked before it happened: its
state is that of the events before it. What is said about all users (the frozen model, popularity) is what the purpose
may know; it has seen the queries of training, but not those of the held-out users that a head is stopped and judged by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, is_candidate


@dataclass(frozen=True)
class Cut:
    """Where in its row each task's events lie."""

    support_RK: Tensor  # int64 places of the latest events of the domain before the query, oldest first
    has_support_RK: Tensor  # bool, false for padding
    query_RQ: Tensor  # int64 places
    has_query_RQ: Tensor  # bool
    known_R: Tensor  # int64, events of any domain strictly before the query


@dataclass(frozen=True)
class Pairs:
    """Items held against a user's state."""

    items_RC: Tensor  # int64, 0 for padding
    labels_RC: Tensor  # float32, 1 for what the user did, 0 for a negative
    mask_RC: Tensor  # float32, 0 for what must not count
    known_RC: Tensor  # int64, how many events of the row the pair's state has seen


def keep_rows_of(columns: Mapping[str, Tensor], domain_num: int) -> dict[str, Tensor]:
    """Keep the rows with an event of the domain that is not the row's first one: the others have nothing to ask."""
    has_later_R = (columns["domain_nums"][:, 1:] == domain_num).any(dim=1)
    return {name: values[has_later_R] for name, values in columns.items()}


def crop(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut the padding that all rows share."""
    lengths_R = (columns["item_nums"] != 0).sum(dim=1)
    length = max(int(lengths_R.max()), 1) if len(lengths_R) else 1
    return {name: values[:, :length] for name, values in columns.items()}


def draw_cuts(
    columns: Mapping[str, Tensor],
    domain_num: int,
    *,
    support_sizes: Sequence[int],
    num_query: int,
    generator: Generator,
) -> Cut:
    """Cut every row once: a support size is drawn for it, and the query starts anywhere after so many events.

    The sizes are spaced like powers, so that a uniform draw from them is uniform in log size. A row too short for its
    size is cut before its last event of the domain. Events of one time are never torn apart, so the support may end up
    smaller. What else is known of the domain ``forget_earlier`` takes away.

    Every row must have an event of the domain.
    """
    is_own_RL = columns["domain_nums"] == domain_num
    num_own_R = is_own_RL.sum(dim=1)
    sizes = torch.tensor(support_sizes, device=num_own_R.device)
    drawn_R = torch.randint(len(sizes), num_own_R.shape, generator=generator, device=generator.device)
    size_R = torch.minimum(sizes[drawn_R], num_own_R - 1)
    share_R = torch.rand(num_own_R.shape, generator=generator, device=generator.device)
    first_R = size_R + (share_R * (num_own_R - size_R)).long().clamp(max=num_own_R - size_R - 1)
    orders_RL = columns[c.EVENT_ORDERS]
    places_RL = _places_of(is_own_RL)
    cut_order_R = orders_RL.gather(1, places_RL.gather(1, first_R.unsqueeze(1)))
    is_known_RL = (orders_RL < cut_order_R) & (columns["item_nums"] != 0)
    return _cut(is_own_RL, is_known_RL.sum(dim=1), size_R, num_support=max(support_sizes), num_query=num_query)


def forget_earlier(columns: Mapping[str, Tensor], domain_num: int, cut: Cut) -> tuple[dict[str, Tensor], Cut]:
    """Drop what is known of the domain before the support: a user who is newer here, asked at the same moment.

    A full support stands for all longer histories and keeps them.

    items      domains        items    domains
    7 8 9 5 6  1 2 1 1 1  ->  8 9 5 6  2 1 1 1     (domain 1, support 9 of two places, query 5 6)
    """
    places_L = torch.arange(columns["item_nums"].shape[1], device=cut.known_R.device)
    first_R = torch.where(cut.has_support_RK, cut.support_RK, cut.known_R.unsqueeze(1)).amin(dim=1)
    first_R = torch.where(cut.has_support_RK.all(dim=1), 0, first_R)
    is_old_RL = (columns["domain_nums"] == domain_num) & (places_L < first_R.unsqueeze(1))
    keep_RL = (columns["item_nums"] != 0) & ~is_old_RL
    num_old_RL = is_old_RL.cumsum(dim=1)
    shorter = replace(
        cut, support_RK=cut.support_RK - num_old_RL.gather(1, cut.support_RK) * cut.has_support_RK,
        query_RQ=cut.query_RQ - num_old_RL.gather(1, cut.query_RQ) * cut.has_query_RQ,
        known_R=cut.known_R - num_old_RL[:, -1],
    )  # fmt: skip
    return _compact(columns, keep_RL), shorter


def cut_at_end(columns: Mapping[str, Tensor], domain_num: int, *, num_support: int) -> Cut:
    """The task of a row whose query lies outside it, as at scoring: all its events are known."""
    is_own_RL = columns["domain_nums"] == domain_num
    known_R = (columns["item_nums"] != 0).sum(dim=1)
    return _cut(is_own_RL, known_R, known_R, num_support=num_support, num_query=0)


def keep_latest(columns: Mapping[str, Tensor], domain_num: int, num_kept: int) -> dict[str, Tensor]:
    """Leave each row the latest ``num_kept`` events of the domain, and all of other domains: a user who is newer here.

    items      domains        items    domains
    7 8 9 5 0  1 2 1 1 0  ->  8 9 5 0  2 1 1 0     (domain 1, two kept)
    """
    is_own_RL = columns["domain_nums"] == domain_num
    later_RL = is_own_RL.flip(1).cumsum(1).flip(1)
    keep_RL = (columns["item_nums"] != 0) & ~(is_own_RL & (later_RL > num_kept))
    return _compact(columns, keep_RL)


def support_pairs(columns: Mapping[str, Tensor], cut: Cut, negatives_RSN: Tensor, nums_V: Tensor) -> Pairs:
    """The support events, each beside its own negatives, in the state before the event.

    A negative that the user is known to have by the time of the query does not count; what comes later is not known.
    """
    items_RL, places_RL = columns["item_nums"], torch.arange(columns["item_nums"].shape[1], device=cut.known_R.device)
    known_items_RL = items_RL * (places_RL < cut.known_R.unsqueeze(1))
    items_RS = items_RL.gather(1, cut.support_RK)
    return _with_negatives(items_RS, cut.has_support_RK, negatives_RSN, known_items_RL, cut.support_RK, nums_V)


def query_pairs(columns: Mapping[str, Tensor], cut: Cut, negatives_RSN: Tensor, nums_V: Tensor) -> Pairs:
    """The query events, each beside its own negatives, all in the state before the first of them.

    A negative that the user has anywhere in the row does not count. A query item that the user knew before counts.
    """
    items_RS = columns["item_nums"].gather(1, cut.query_RQ)
    known_RS = cut.known_R.unsqueeze(1).expand_as(items_RS)
    return _with_negatives(items_RS, cut.has_query_RQ, negatives_RSN, columns["item_nums"], known_RS, nums_V)


def truth_pairs(
    columns: Mapping[str, Tensor], truth_RQ: Tensor, negatives_RSN: Tensor, nums_V: Tensor, known_R: Tensor
) -> Pairs:
    """Held-out items (0 for padding), each beside its own negatives; none of them is a held-out item or a known one."""
    taken_RL = torch.cat((columns["item_nums"], truth_RQ), dim=1)
    known_RS = known_R.unsqueeze(1).expand_as(truth_RQ)
    return _with_negatives(truth_RQ, truth_RQ != 0, negatives_RSN, taken_RL, known_RS, nums_V)


def draw_task_negatives(
    nums_V: Tensor, popularity_V: Tensor, *, num_rows: int, num_events: int, num_negatives: int, generator: Generator
) -> Tensor:
    """Negatives for every event of every task, half of them uniform, half by popularity: item numbers [R, S, N]."""
    num_popular = num_negatives // 2
    uniform = torch.randint(
        len(nums_V), (num_rows, num_events, num_negatives - num_popular), generator=generator, device=generator.device
    )
    heights = popularity_V.double().cumsum(0)
    drawn = torch.rand((num_rows, num_events, num_popular), generator=generator, device=generator.device).double()
    popular = torch.searchsorted(heights, drawn * heights[-1], right=True).clamp(max=len(nums_V) - 1)
    return nums_V[torch.cat((uniform, popular), dim=2)]


def _cut(is_own_RL: Tensor, known_R: Tensor, size_R: Tensor, *, num_support: int, num_query: int) -> Cut:
    """The last ``size_R`` events of the domain before place ``known_R``, and the first ones from there on."""
    length = is_own_RL.shape[1]
    places_RL = _places_of(is_own_RL)
    is_before_RL = torch.arange(length, device=is_own_RL.device) < known_R.unsqueeze(1)
    num_before_R, num_own_R = (is_own_RL & is_before_RL).sum(dim=1), is_own_RL.sum(dim=1)
    taken_R = torch.minimum(size_R, num_before_R).clamp(max=num_support)
    steps_K = torch.arange(num_support, device=is_own_RL.device)
    has_support_RK = steps_K < taken_R.unsqueeze(1)
    support_RK = ((num_before_R - taken_R).unsqueeze(1) + steps_K).clamp(max=length - 1)
    query_RQ = num_before_R.unsqueeze(1) + torch.arange(num_query, device=is_own_RL.device)
    return Cut(
        places_RL.gather(1, support_RK), has_support_RK, places_RL.gather(1, query_RQ.clamp(max=length - 1)),
        query_RQ < num_own_R.unsqueeze(1), known_R,
    )  # fmt: skip


def _compact(columns: Mapping[str, Tensor], keep_RL: Tensor) -> dict[str, Tensor]:
    """The events kept, in order, then padding."""
    order_RL = (~keep_RL).to(torch.int8).argsort(dim=1, stable=True)
    return {name: (columns[name] * keep_RL).gather(1, order_RL) for name in SEQUENCE_COLUMNS}


def _places_of(is_own_RL: Tensor) -> Tensor:
    """The places of the domain's events, in order, before the places of all others."""
    return (~is_own_RL).to(torch.int8).argsort(dim=1, stable=True)


def _with_negatives(
    items_RS: Tensor, has_item_RS: Tensor, negatives_RSN: Tensor, taken_RL: Tensor, known_RS: Tensor, nums_V: Tensor
) -> Pairs:
    num_rows, num_events, num_negatives = negatives_RSN.shape
    items_RSM = torch.cat((items_RS.unsqueeze(2), negatives_RSN), dim=2)
    is_taken_RSN = (negatives_RSN.unsqueeze(3) == taken_RL[:, None, None, :]).any(dim=3)
    counts_RSM = torch.cat((is_candidate(items_RS, nums_V).unsqueeze(2), ~is_taken_RSN), dim=2)
    counts_RSM &= has_item_RS.unsqueeze(2)
    labels_M = torch.zeros(1 + num_negatives, device=items_RS.device)
    labels_M[0] = 1
    known_RSM = known_RS.unsqueeze(2).expand_as(items_RSM)
    size = (num_rows, num_events * (1 + num_negatives))
    return Pairs(
        (items_RSM * counts_RSM).reshape(size), labels_M.expand_as(items_RSM).reshape(size),
        counts_RSM.float().reshape(size), known_RSM.reshape(size),
    )  # fmt: skip
