"""A frozen sequence model, rows of events and pairs in, the raw features of every pair out.

R rows, L length, C pairs, D width, V candidates, F features, T tasks, K support pairs, Q query pairs. A
causal model reads each row once: the vector at a place knows that event and those before it only, and a pair takes the
one of the last event it may know.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.meta_learning.pairs import share_of
from crossrec_core.tensors.meta_learning.tasks import Pairs
from crossrec_core.tensors.network.encoder import BERT, SequenceModel
from crossrec_core.tensors.probability.ranker import POPULARITY_FLOOR
from crossrec_core.tensors.retrieval.candidates import Candidates

IN_CONTEXT = 0  # the place of the in-context score among the features
NUM_NAMED = 11


@dataclass(frozen=True)
class Tasks:
    """A batch of tasks, all of one domain or of several."""

    support_TKF: Tensor  # float32
    support_labels_TK: Tensor  # float32, 1 or 0
    support_mask_TK: Tensor  # float32, 0 for padding
    query_TQF: Tensor
    query_labels_TQ: Tensor
    query_mask_TQ: Tensor
    domains_T: Tensor  # int64, 0 for a domain that training never saw


def count_features(width: int) -> int:
    """F: the named features and one product per coordinate."""
    return NUM_NAMED + width


def to_tasks(
    model: SequenceModel, columns: Mapping[str, Tensor], support: Pairs, query: Pairs, domain_num: int,
    candidates: Candidates,
) -> Tasks:  # fmt: skip
    """The tasks of one domain's rows, described as ``task_features`` says."""
    return Tasks(
        task_features(model, columns, support, domain_num, candidates), support.labels_RC, support.mask_RC,
        task_features(model, columns, query, domain_num, candidates), query.labels_RC, query.mask_RC,
        torch.full_like(columns["item_nums"][:, 0], domain_num),
    )  # fmt: skip


def task_features(
    model: SequenceModel, columns: Mapping[str, Tensor], pairs: Pairs, domain_num: int, candidates: Candidates
) -> Tensor:
    """Features of each pair, float32 [R, C, F]; none of them depends on events that the pair's state has not seen.

    The in-context score (query . item; log popularity where nothing is known of the user); query . item, 0 there; their
    cosine; log popularity share; likeness to the known events by item vector and by text, the largest and the mean of
    each; log(1 + known events), all and of the domain; whether there are any; and the products of the coordinates.
    """
    with torch.no_grad():
        queries_RCD, vectors_RCD = states(model, columns, pairs, domain_num), model.item_vectors(pairs.items_RC)
        is_known_RCL = _is_known(columns, pairs)
        is_own_RL = columns["domain_nums"] == domain_num
        has_events_RC = pairs.known_RC > 0
        products_RCD = queries_RCD * vectors_RCD
        dot_RC = products_RCD.sum(dim=-1)
        share_RC = share_of(pairs.items_RC, candidates.items[domain_num], candidates.popularity[domain_num])
        log_share_RC = share_RC.clamp(min=POPULARITY_FLOOR).log()
        named = [
            torch.where(has_events_RC, dot_RC, log_share_RC),
            dot_RC,
            F.cosine_similarity(queries_RCD, vectors_RCD, dim=-1),
            log_share_RC,
            *_likeness(vectors_RCD, model.item_vectors(columns["item_nums"]), is_known_RCL),
            *_text_likeness(model, columns["item_nums"], pairs.items_RC, is_known_RCL),
            pairs.known_RC.float().log1p(),
            (is_known_RCL & is_own_RL.unsqueeze(1)).sum(dim=2).float().log1p(),
            has_events_RC.float(),
        ]
        return torch.cat((torch.stack(named, dim=-1), products_RCD), dim=-1).float()


def states(model: SequenceModel, columns: Mapping[str, Tensor], pairs: Pairs, domain_num: int) -> Tensor:
    """The query vector after the last event each pair may know, [R, C, D]; zeros where there is none."""
    ask = prefix_queries if model.config.encoder == BERT else causal_queries
    return ask(model, columns, pairs, domain_num) * (pairs.known_RC > 0).unsqueeze(2)


def causal_queries(model: SequenceModel, columns: Mapping[str, Tensor], pairs: Pairs, domain_num: int) -> Tensor:
    """One pass over each row. A place that is asked must name its domain, lest it see that of the event after it."""
    last_RC = (pairs.known_RC - 1).clamp(min=0)
    asks_RC = (pairs.items_RC != 0) & (pairs.known_RC > 0)
    wanted_RL = torch.zeros_like(columns["item_nums"]).scatter_reduce(1, last_RC, asks_RC * domain_num, reduce="amax")
    events = (columns[name] for name in SEQUENCE_COLUMNS)
    hidden_RLD = model(*events, wanted_domains_BL=wanted_RL)
    queries_RLD = model.query(hidden_RLD, torch.full_like(columns["item_nums"], domain_num))
    return queries_RLD.gather(1, last_RC.unsqueeze(2).expand(-1, -1, queries_RLD.shape[2]))


def prefix_queries(model: SequenceModel, columns: Mapping[str, Tensor], pairs: Pairs, domain_num: int) -> Tensor:
    """One pass for each known part of each row: what an encoder needs that reads a row both ways."""
    num_rows, length = columns["item_nums"].shape
    rows_R1 = torch.arange(num_rows, device=pairs.known_RC.device).unsqueeze(1)
    keys, places_RC = (rows_R1 * (length + 1) + pairs.known_RC).unique(return_inverse=True)
    rows, known = keys // (length + 1), keys % (length + 1)
    is_known = torch.arange(length, device=keys.device) < known.unsqueeze(1)
    items, domains, actions, gaps, orders = (columns[name][rows] * is_known for name in SEQUENCE_COLUMNS)
    return model.last_query(items, domains, actions, gaps, orders, target_domain=domain_num)[places_RC]


def _is_known(columns: Mapping[str, Tensor], pairs: Pairs) -> Tensor:
    items_RL = columns["item_nums"]
    places_L = torch.arange(items_RL.shape[1], device=items_RL.device)
    return (places_L < pairs.known_RC.unsqueeze(2)) & (items_RL != 0).unsqueeze(1)


def _text_likeness(
    model: SequenceModel, items_RL: Tensor, items_RC: Tensor, is_known_RCL: Tensor
) -> tuple[Tensor, Tensor]:
    if not model.config.text_dimensions:
        nothing_RC = torch.zeros(items_RC.shape, device=items_RC.device)
        return nothing_RC, nothing_RC
    text_IK = model.items.text_vectors_IK
    return _likeness(text_IK[items_RC].float(), text_IK[items_RL].float(), is_known_RCL)


def _likeness(vectors_RCD: Tensor, events_RLD: Tensor, is_known_RCL: Tensor) -> tuple[Tensor, Tensor]:
    """Largest and mean cosine of each pair's item with the known events, [R, C]; 0 where none is known."""
    cosine_RCL = F.normalize(vectors_RCD, dim=-1) @ F.normalize(events_RLD, dim=-1).transpose(1, 2)
    num_known_RC = is_known_RCL.sum(dim=2)
    mean_RC = (cosine_RCL * is_known_RCL).sum(dim=2) / num_known_RC.clamp(min=1)
    largest_RC = cosine_RCL.masked_fill(~is_known_RCL, -1).amax(dim=2)
    return torch.where(num_known_RC > 0, largest_RC, 0.0), mean_RC
