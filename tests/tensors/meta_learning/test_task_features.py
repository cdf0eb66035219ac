from dataclasses import replace
from math import log

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.meta_learning.task_features import (
    IN_CONTEXT,
    causal_queries,
    count_features,
    prefix_queries,
    task_features,
    to_tasks,
)
from crossrec_core.tensors.meta_learning.tasks import (
    Pairs,
    draw_cuts,
    draw_task_negatives,
    keep_rows_of,
    query_pairs,
    support_pairs,
)
from crossrec_core.tensors.retrieval.candidates import Candidates
from tests.tensors.worlds import random_columns, tiny_model

CANDIDATES = Candidates(
    {1: torch.arange(1, 11), 2: torch.arange(11, 21)},
    {d: torch.full((10,), 0.1) for d in (1, 2)},
    {},
    {"a": 1, "b": 2},
    "f",
)
WIDTH = 16


def make_rows(seed: int = 0) -> dict[str, Tensor]:
    columns = random_columns(80, 8, seed=seed)
    columns["item_nums"] = (columns["item_nums"] - 1) % 10 + 1 + 10 * (columns["domain_nums"] - 1)
    columns["item_nums"] *= columns["domain_nums"] > 0
    return keep_rows_of({**columns, c.EVENT_ORDERS: torch.arange(1, 9).expand(80, 8) * (columns["item_nums"] > 0)}, 1)


def text_vectors() -> Tensor:
    return F.normalize(torch.randn(21, 6, generator=torch.Generator().manual_seed(2)), dim=1).half()


def pairs_of(items: list[int], known: list[int]) -> Pairs:
    size = (1, len(items))
    return Pairs(torch.tensor([items]), torch.zeros(size), torch.ones(size), torch.tensor([known]))


def adapted_model(**changes: object):
    """Adapters start at zero: here they say something."""
    model, generator = tiny_model(**changes), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return model.requires_grad_(False)


def test_one_pass_over_a_row_says_what_a_pass_over_each_known_part_does() -> None:
    rows, model = make_rows(), adapted_model(adapter_rank=2)
    pairs = Pairs(torch.ones(len(rows["item_nums"]), 1).long(), *[torch.ones(1)] * 2, torch.tensor([[3]]))
    pairs = replace(pairs, known_RC=torch.full_like(pairs.items_RC, 3))
    found_RCD, expected_RCD = (ask(model, rows, pairs, 1) for ask in (causal_queries, prefix_queries))
    known_R = (rows["item_nums"] != 0).sum(dim=1) >= 3
    torch.testing.assert_close(found_RCD[known_R], expected_RCD[known_R], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["gpt", "bert"])
def test_nothing_from_the_query_on_changes_what_is_said_about_its_candidates_or_the_support(encoder: str) -> None:
    text = {"text_dimensions": 6, "text_vectors_IK": text_vectors()}
    rows, model = make_rows(), adapted_model(encoder=encoder, adapter_rank=2, **text)
    generator = torch.Generator().manual_seed(0)
    cut = draw_cuts(rows, 1, support_sizes=(0, 1, 2, 3), num_query=2, generator=generator)
    nums_V, popularity_V = CANDIDATES.items[1], CANDIDATES.popularity[1]
    negatives_RSN = draw_task_negatives(
        nums_V, popularity_V, num_rows=len(cut.known_R), num_events=5, num_negatives=4, generator=generator
    )
    support = support_pairs(rows, cut, negatives_RSN[:, :3], nums_V)
    query = query_pairs(rows, cut, negatives_RSN[:, 3:], nums_V)
    before = to_tasks(model, rows, support, query, 1, CANDIDATES)
    other = make_rows(seed=7)
    is_known_RL = torch.arange(8) < cut.known_R.unsqueeze(1)
    other = {name: values[torch.arange(len(cut.known_R)) % len(values)] for name, values in other.items()}
    changed = {name: torch.where(is_known_RL, rows[name], other[name]) for name in rows}
    after = to_tasks(model, changed, support, query, 1, CANDIDATES)
    assert not torch.equal(changed["item_nums"], rows["item_nums"])
    counts = before.support_mask_TK > 0
    torch.testing.assert_close(after.support_TKF[counts], before.support_TKF[counts])
    torch.testing.assert_close(after.query_TQF, before.query_TQF)
    again = support_pairs(changed, cut, negatives_RSN[:, :3], nums_V)
    assert torch.equal(again.mask_RC, support.mask_RC)


def test_what_happened_before_does_change_them() -> None:
    rows, model = make_rows(), tiny_model()
    row = {name: values[:1] for name, values in rows.items()}
    changed = {**row, "item_nums": row["item_nums"].roll(1, dims=1)}
    pairs = pairs_of([3], [1])
    before, after = (task_features(model, columns, pairs, 1, CANDIDATES) for columns in (row, changed))
    assert not torch.allclose(before, after)


def test_features_are_written_out() -> None:
    model = tiny_model(text_dimensions=6, text_vectors_IK=text_vectors())
    row = {name: values[:1] for name, values in make_rows(seed=3).items()}
    row["item_nums"], row["domain_nums"] = (
        torch.tensor([[4, 12, 5, 9, 0, 0, 0, 0]]),
        torch.tensor([[1, 2, 1, 1, 0, 0, 0, 0]]),
    )
    found_F = task_features(model, row, pairs_of([7], [3]), 1, CANDIDATES)[0, 0]
    seen = [row[name][:, :3] for name in SEQUENCE_COLUMNS]
    with torch.no_grad():
        query_D, vector_D = model.last_query(*seen, target_domain=1)[0], model.item_vectors(torch.tensor([7]))[0]
        cosines = F.cosine_similarity(model.item_vectors(torch.tensor([4, 12, 5])), vector_D.unsqueeze(0))
    text = model.items.text_vectors_IK.float()
    likeness = F.cosine_similarity(text[[4, 12, 5]], text[[7]])
    dot = float(query_D @ vector_D)
    named = [
        dot, dot, float(F.cosine_similarity(query_D, vector_D, dim=0)), log(0.1), float(cosines.max()),
        float(cosines.mean()), float(likeness.max()), float(likeness.mean()), log(4), log(3), 1.0,
    ]  # fmt: skip
    assert len(found_F) == count_features(WIDTH) == len(named) + WIDTH
    torch.testing.assert_close(found_F[: len(named)], torch.tensor(named), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_F[len(named) :], query_D * vector_D, rtol=1e-4, atol=1e-5)


def test_a_user_without_events_is_described_by_popularity_alone() -> None:
    row = {name: values[:1] for name, values in make_rows().items()}
    candidates = replace(CANDIDATES, popularity={1: torch.linspace(0.01, 0.19, 10)})
    found_CF = task_features(tiny_model(), row, pairs_of([1, 10], [0, 0]), 1, candidates)[0]
    torch.testing.assert_close(found_CF[:, IN_CONTEXT], torch.tensor([0.01, 0.19]).log())
    assert not found_CF[:, 1:3].any()
    assert not found_CF[:, 4:].any()
