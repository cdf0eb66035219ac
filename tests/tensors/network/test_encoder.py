"""What every encoder must keep: padding, causality, rows of their own, order, derivatives; and that it learns."""

from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional as F

from crossrec_core.errors import ConfigError
from crossrec_core.settings import ModelSettings
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS, to_batch
from crossrec_core.tensors.network.encoder import SequenceModel
from crossrec_core.tensors.network.relative_bias import KINDS
from crossrec_core.tensors.scoring.neural_scorer import encode
from crossrec_core.tensors.training.fit import FitPlan, fit
from crossrec_core.tensors.training.pretrain import make_step
from crossrec_core.tensors.training.validation import HeldOut, mean_ndcg
from tests.tensors.worlds import config, parity_columns, random_columns, tiny_model

CAUSAL = [
    {"encoder": "gpt"},
    {"encoder": "gpt", "relative_bias": "position"},
    {"encoder": "gpt", "relative_bias": "time"},
    {"encoder": "gpt", "relative_bias": "time_and_position", "adapter_rank": 2},
    {"encoder": "hstu"},
    {"encoder": "hstu", "relative_bias": "time_and_position", "adapter_rank": 2},
    {"encoder": "lstm"},
    {"encoder": "gru", "adapter_rank": 2},
]
BOTH_WAYS = [{"encoder": "bert"}, {"encoder": "bert", "relative_bias": "time_and_position", "adapter_rank": 2}]


def name_of(shape):
    return "-".join(str(value) for value in shape.values())


def events_of(columns):
    return [columns[name] for name in SEQUENCE_COLUMNS]


def lively_model(**changes):
    """A model in which everything that starts at zero has a value, and items differ."""
    model = tiny_model(**changes)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "relative_bias" in name or "adapters_up" in name or name in ("items.ids", "mask_D"):
                values.copy_(torch.randn(values.shape, generator=generator))
        model.items.ids[0] = 0
    return model


every = pytest.mark.parametrize("shape", CAUSAL + BOTH_WAYS, ids=name_of)
causal = pytest.mark.parametrize("shape", CAUSAL, ids=name_of)


@every
def test_padding_changes_no_output(shape):
    model = lively_model(**shape)
    events = events_of(parity_columns(4, 5))
    padded = [F.pad(values, (0, 3)) for values in events]
    torch.testing.assert_close(model(*padded)[:, :5], model(*events), atol=1e-5, rtol=1e-5)
    queries_BD, expected_BD = (model.last_query(*rows, target_domain=1) for rows in (padded, events))
    torch.testing.assert_close(queries_BD, expected_BD, atol=1e-5, rtol=1e-5)


@every
@pytest.mark.parametrize("layers", [1, 2])
def test_a_position_that_is_asked_for_alone_is_what_it_is_among_all(shape, layers):
    model = lively_model(**shape, layers=layers)
    events = events_of(random_columns(9, 6, seed=3))
    at_B1 = torch.tensor([[0], [1], [2], [3], [4], [5], [0], [3], [5]])
    wanted_BL = torch.full_like(events[0], 2)
    whole_BLD = model(*events, wanted_domains_BL=wanted_BL)
    alone_B1D = model(*events, wanted_domains_BL=wanted_BL, at_B1=at_B1)
    expected_B1D = torch.stack([row_LD[at_1] for row_LD, at_1 in zip(whole_BLD, at_B1, strict=True)])
    torch.testing.assert_close(alone_B1D, expected_B1D, atol=1e-5, rtol=1e-5)


@causal
def test_what_stands_in_padded_positions_changes_no_output_before(shape):
    model = lively_model(**shape)
    events = events_of(parity_columns(4, 5))
    padded, junk = ([F.pad(values, (0, 3), value=value) for values in events] for value in (0, 2))
    junk[1] = padded[1]  # which adapter is used at a position follows from the domain after it
    torch.testing.assert_close(model(*padded)[:, :5], model(*junk)[:, :5])


@causal
@pytest.mark.parametrize("changed_at", [1, 4, 7])
def test_changing_an_event_changes_no_output_before_it(shape, changed_at):
    model = lively_model(**shape)
    events = events_of(parity_columns(4, 8))
    before = model(*events)
    for column, change in ((0, 3), (2, 1), (3, 2), (4, 77_000_000)):  # item, action, gap and time
        events[column] = events[column].clone()
        events[column][:, changed_at] += change
    events[0].clamp_(max=20)
    after = model(*events)
    torch.testing.assert_close(after[:, :changed_at], before[:, :changed_at])
    assert not torch.allclose(after[:, changed_at], before[:, changed_at])


@pytest.mark.parametrize("shape", BOTH_WAYS, ids=name_of)
def test_bert_reads_both_ways(shape):
    model = lively_model(**shape)
    events = events_of(parity_columns(4, 8))
    before = model(*events)
    events[0] = events[0].clone()
    events[0][:, 4] = 20 - events[0][:, 4] + 1
    after = model(*events)
    assert not torch.allclose(after[:, 2], before[:, 2])
    assert not torch.allclose(after[:, 6], before[:, 6])


@every
def test_a_row_is_encoded_to_the_same_bits_whoever_shares_its_batch(shape):
    model = lively_model(**shape)
    columns = events_of(random_columns(150, 8, seed=4))
    with torch.no_grad():
        together_BD = encode(model, columns, 2)
        for row in (0, 3, 77, 149):
            alone_BD = encode(model, [values[row : row + 1] for values in columns], 2)
            assert torch.equal(alone_BD[0], together_BD[row])


@every
def test_order_of_the_events_matters(shape):
    # One block over the same events swapped: without positions the last event would see the same set.
    model = lively_model(**{**shape, "layers": 1})
    columns = parity_columns(1, 4)
    columns["item_nums"] = torch.tensor([[1, 2, 3, 4]])
    columns["domain_nums"] = torch.ones(1, 4, dtype=torch.long)
    columns["gap_buckets"] = torch.ones(1, 4, dtype=torch.long)
    columns["event_orders"] = torch.tensor([[1, 2, 3, 4]])  # positions: time tells nothing
    swapped = {**columns, "item_nums": torch.tensor([[2, 1, 3, 4]])}
    queries = [model.last_query(*events_of(rows), target_domain=1) for rows in (columns, swapped)]
    assert not torch.allclose(queries[0], queries[1], atol=1e-4)


@every
def test_how_long_item_vectors_are_says_nothing_on_their_way_in_and_all_on_their_way_out(shape):
    models = [lively_model(**shape, normalise_inputs=is_normal) for is_normal in (True, False)]
    columns = random_columns(6, 8)
    before = [model.last_query(*events_of(columns), target_domain=1) for model in models]
    vectors = [model.item_vectors(torch.arange(21)) for model in models]
    with torch.no_grad():
        for model in models:
            model.items.ids *= 10
            if model.mask_D is not None:
                model.mask_D *= 10
    after = [model.last_query(*events_of(columns), target_domain=1) for model in models]
    has_events_B = columns["item_nums"][:, 0] != 0
    assert torch.allclose(after[0][has_events_B], before[0][has_events_B], atol=1e-2)
    assert not torch.allclose(after[1][has_events_B], before[1][has_events_B], atol=1e-1)
    for model, old_VD in zip(models, vectors, strict=True):
        assert torch.equal(model.item_vectors(torch.arange(21)), 10 * old_VD)


def test_what_was_seen_is_not_drowned_at_the_start():
    # Two histories of other items: how far apart a fresh model's queries are, over how long they are
    columns = [random_columns(64, 8, seed=seed) for seed in (1, 2)]
    for rows in columns:
        rows |= {name: torch.ones_like(rows[name]) for name in ("domain_nums", "gap_buckets")}
    apart = {}
    for is_normal in (True, False):
        model = tiny_model(width=64, normalise_inputs=is_normal)
        one, other = (model.last_query(*events_of(rows), target_domain=1) for rows in columns)
        apart[is_normal] = ((one - other).norm() / one.norm()).item()
    assert apart[True] > 1.5 * apart[False]


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu"])
def test_time_matters_exactly_where_the_bias_reads_it(encoder):
    events = events_of(parity_columns(4, 6))
    later = [*events[:4], events[4] * torch.tensor([1, 1, 1, 1, 50, 50])]
    for kind, reads in (("none", False), ("position", False), ("time", True), ("time_and_position", True)):
        model = lively_model(encoder=encoder, relative_bias=kind)
        queries = [model.last_query(*rows, target_domain=1) for rows in (events, later)]
        assert torch.allclose(queries[0], queries[1], atol=1e-5) != reads, kind


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu", "lstm", "gru"])
def test_the_adapters_of_a_fresh_model_change_nothing(encoder):
    model = tiny_model(encoder=encoder, adapter_rank=2)
    events = events_of(parity_columns(6, 5))
    before = model.last_query(*events, target_domain=1)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "adapters_down" in name:
                values += 1
    assert torch.equal(model.last_query(*events, target_domain=1), before)


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu", "lstm", "gru"])
def test_only_the_wanted_domains_adapters_change_a_query(encoder):
    model = tiny_model(encoder=encoder, adapter_rank=2)
    columns = parity_columns(6, 5)
    columns["domain_nums"] = torch.ones_like(columns["domain_nums"])
    before = [model.last_query(*events_of(columns), target_domain=domain) for domain in (1, 2)]
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "adapters_up" in name:
                values[:, 2:] = torch.randn(values[:, 2:].shape, generator=torch.Generator().manual_seed(1))
    after = [model.last_query(*events_of(columns), target_domain=domain) for domain in (1, 2)]
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1], atol=1e-3)


@causal
def test_training_and_scoring_see_the_same_query(shape):
    model = lively_model(**shape)
    columns = parity_columns(6, 6)
    batch = to_batch(columns)
    hidden_BLD = model(*events_of(columns), wanted_domains_BL=batch.target_domains_BL)
    trained_BD = model.query(hidden_BLD[:, 3], columns["domain_nums"][:, 4])
    for row in range(6):
        domain = int(columns["domain_nums"][row, 4])
        start = [values[row : row + 1, :4] for values in events_of(columns)]
        scored_D = model.last_query(*start, target_domain=domain)[0]
        torch.testing.assert_close(trained_BD[row], scored_D, atol=1e-5, rtol=1e-5)


@every
def test_last_query_reads_the_last_event_of_each_row(shape):
    model = lively_model(**shape)
    columns = random_columns(6, 5, seed=3)
    queries_BD = model.last_query(*events_of(columns), target_domain=2)
    for row in range(6):
        length = max(int((columns["item_nums"][row] != 0).sum()), 1)
        alone = [values[row : row + 1, :length] for values in events_of(columns)]
        alone_BD = model.last_query(*alone, target_domain=2)
        torch.testing.assert_close(queries_BD[row : row + 1], alone_BD, atol=1e-5, rtol=1e-5)


@every
def test_second_derivatives_exist_and_are_exact(shape):
    model = lively_model(**{**shape, "layers": 1, "width": 4}).double()
    events = events_of(parity_columns(2, 3))

    def outputs(ids):
        return torch.func.functional_call(model, {"items.ids": ids}, tuple(events), {"second_order": True})

    assert torch.autograd.gradgradcheck(outputs, (model.items.ids.detach().clone().requires_grad_(),))


@every
def test_first_order_and_second_order_passes_agree(shape):
    model = lively_model(**shape)
    events = events_of(random_columns(5, 6, seed=2))
    is_event_BL = events[0] != 0
    plain, exact = model(*events), model(*events, second_order=True)
    torch.testing.assert_close(plain[is_event_BL], exact[is_event_BL], atol=1e-5, rtol=1e-5)


@every
def test_every_parameter_learns(shape):
    model = lively_model(**shape).train()
    generator = torch.Generator().manual_seed(0)
    step = make_step(
        model, {1: torch.arange(1, 11), 2: torch.arange(11, 21)}, full_softmax_items=100, num_negatives=4,
        domain_temperature=1.0, generator=generator,
    )  # fmt: skip
    step(to_batch(parity_columns(64, 8))).backward()
    gradients = {name: values.grad for name, values in model.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None or not grad.to_dense().any()] == []


@every
def test_a_small_pattern_is_learned(shape):
    # Item i is followed by i + 3, round and round: only the last event tells, and users start everywhere
    start_B1 = torch.arange(200).unsqueeze(1)
    items_BL = (start_B1 + 3 * torch.arange(8)) % 20 + 1
    ones = torch.ones_like(items_BL)
    orders_BL = 60_000_000 * torch.arange(1, 9).expand_as(items_BL).contiguous()
    columns = dict(zip(SEQUENCE_COLUMNS, (items_BL, ones, ones, ones, orders_BL), strict=True))
    model = SequenceModel(replace(config(**shape), num_domains=1))
    step = make_step(
        model, {1: torch.arange(1, 21)}, full_softmax_items=100, num_negatives=4, domain_temperature=1.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    plan = FitPlan(max_epochs=60, num_epochs=60, steps_per_epoch=4, patience=60, learning_rate=1e-2, weight_decay=0.0,
                   warmup_share=0.1, clip_norm=1.0)  # fmt: skip
    parts = torch.arange(200).split(50)
    batches = [to_batch({name: values[rows] for name, values in columns.items()}) for rows in parts]
    fit(model, lambda epoch: batches, step, plan=plan, seed=0, device=torch.device("cpu"))
    starts = {name: values[:40, :5] for name, values in columns.items()}
    held_out = HeldOut(starts, items_BL[:40, 5:6], torch.arange(40), 1, exclude_seen=False)
    with torch.no_grad():
        assert mean_ndcg(model, held_out, torch.arange(1, 21), n=1) > 0.9


def test_unknown_large_gaps_share_the_last_bucket():
    model = tiny_model()
    events = events_of(parity_columns(2, 4))
    huge, largest = ([*events[:3], torch.full_like(events[3], gap), events[4]] for gap in (99, 8))
    torch.testing.assert_close(model(*huge), model(*largest))


@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_a_bias_without_attention_is_refused(encoder):
    with pytest.raises(ConfigError, match="has no attention"):
        tiny_model(encoder=encoder, relative_bias="time")


def test_the_settings_offer_what_can_be_built():
    choices = {field.name: field.metadata["choices"] for field in fields(ModelSettings)}
    assert choices["relative_bias"] == KINDS
    for encoder in choices["encoder"]:
        assert len(tiny_model(encoder=encoder, layers=3).blocks) == 3
