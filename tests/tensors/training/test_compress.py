from pathlib import Path

import pandas as pd
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.network.checkpoint import About, save_checkpoint
from crossrec_core.tensors.retrieval.search import COMPRESSED, Search
from crossrec_core.tensors.scoring.scorer import LoadModels, LoadScorer, ModelFolder
from crossrec_core.tensors.training.compress import (
    Int8Linear,
    compress,
    folder_bytes,
    from_int8,
    load_int8,
    save_int8,
    to_int8,
)
from crossrec_core.tensors.training.finetune import build_model
from tests import scoring_world as world
from tests.tensors.scoring.test_neural_scorer import CONFIG
from tests.tensors.scoring.test_scorer import user_rows
from tests.tensors.worlds import config, random_columns, tiny_model


def text_model(**changes):
    generator = torch.Generator().manual_seed(2)
    text_IK = torch.nn.functional.normalize(torch.randn(21, 6, generator=generator), dim=1).half()
    text_IK[0] = 0
    return tiny_model(text_vectors_IK=text_IK, text_dimensions=6, **changes)


def about(model="transferred", **settings):
    return About("neural_int8", model, "films", 1, world.FINGERPRINT, settings)


def test_a_value_is_at_most_half_a_step_off_and_the_largest_is_exact():
    values_RD = torch.randn(200, 33, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 6, 200)[:, None]
    steps_RD, scale_R = to_int8(values_RD)
    back_RD = from_int8(steps_RD, scale_R)
    assert ((back_RD - values_RD).abs() <= 0.5 * scale_R[:, None] * (1 + 1e-4)).all()
    torch.testing.assert_close(back_RD.abs().amax(dim=1), values_RD.abs().amax(dim=1))
    assert steps_RD.dtype == torch.int8


def test_a_row_of_zeros_stays_zero():
    steps_RD, scale_R = to_int8(torch.zeros(2, 4))
    assert not steps_RD.any()
    assert not from_int8(steps_RD, scale_R).any()


@pytest.mark.parametrize("bias", [False, True])
def test_a_map_of_whole_numbers_is_exact(bias):
    """Rows whose largest magnitude is 127 have scale 1: nothing is rounded."""
    generator = torch.Generator().manual_seed(1)
    exact = torch.nn.Linear(16, 5, bias=bias)
    x = torch.randint(-126, 127, (2, 3, 16), generator=generator).float()
    weights_OF = torch.randint(-126, 127, (5, 16), generator=generator).float()
    x[..., 0], weights_OF[:, 0] = 127, -127
    with torch.no_grad():
        exact.weight.copy_(weights_OF)
    small = Int8Linear(16, 5, bias=bias)
    small.steps_OF, small.scale_O = to_int8(weights_OF)
    small.bias = exact.bias
    torch.testing.assert_close(small(x), exact(x))


def test_a_compressed_model_gives_nearly_the_same_scores_and_leaves_the_model_alone():
    model = text_model(width=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = compress(model)
    columns = random_columns(40, 8, seed=1)
    nums_V = torch.arange(1, 21)
    with torch.no_grad():
        scores, small_scores = (
            net.last_query(*(columns[name] for name in SEQUENCE_COLUMNS), target_domain=1) @ net.item_vectors(nums_V).T
            for net in (model, small)
        )
    has_events = columns["item_nums"].any(dim=1)
    error = (scores - small_scores)[has_events].norm() / scores[has_events].norm()
    assert 0 < error < 0.03
    assert not any(isinstance(module, torch.nn.Linear) for module in small.modules())
    assert not small.item_vectors(torch.tensor([0])).any()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("encoder", ["gpt", "bert", "lstm", "gru", "hstu"])
def test_every_encoder_can_be_compressed_saved_and_loaded(encoder, tmp_path):
    model, columns = text_model(width=32, encoder=encoder, adapter_rank=2), random_columns(40, 8, seed=1)
    save_int8(str(tmp_path / "small"), compress(model), about())
    small = load_int8(str(tmp_path / "small")).model
    with torch.no_grad():
        exact, rounded = (net.last_query(*(columns[n] for n in SEQUENCE_COLUMNS), target_domain=1)
                          for net in (model, small))  # fmt: skip
    has_events = columns["item_nums"].any(dim=1)
    assert 0 < (exact - rounded)[has_events].norm() / exact[has_events].norm() < 0.05


def test_a_compressed_row_does_not_depend_on_its_batch():
    small, columns = compress(text_model()), random_columns(40, 8, seed=1)
    together = small.last_query(*(columns[name] for name in SEQUENCE_COLUMNS), target_domain=1)
    alone = small.last_query(*(columns[name][3:4] for name in SEQUENCE_COLUMNS), target_domain=1)
    torch.testing.assert_close(together[3:4], alone, rtol=1e-5, atol=1e-6)


def test_loading_gives_what_was_saved(tmp_path):
    small, columns = compress(text_model()), random_columns(10, 8, seed=1)
    save_int8(str(tmp_path / "small"), small, about(epochs=3))
    loaded = load_int8(str(tmp_path / "small"))
    assert loaded.about == about(epochs=3)
    queries = [
        net.last_query(*(columns[name] for name in SEQUENCE_COLUMNS), target_domain=1) for net in (small, loaded.model)
    ]
    assert torch.equal(*queries)


def test_weights_of_another_shape_are_refused(tmp_path):
    save_int8(str(tmp_path / "small"), compress(text_model()), about())
    other = compress(text_model(layers=1))
    save_int8(str(tmp_path / "other"), other, about())
    (tmp_path / "small" / "config.json").write_text((tmp_path / "other" / "config.json").read_text())
    with pytest.raises(CheckpointError, match="do not fit"):
        load_int8(str(tmp_path / "small"))


def test_a_folder_is_three_times_smaller_where_items_make_its_size(tmp_path):
    generator = torch.Generator().manual_seed(2)
    text_IK = torch.randn(3001, 64, generator=generator).half()
    shape = config(num_items=3000, width=64, text_dimensions=64)
    model = build_model(shape, seed=0, text_vectors_IK=text_IK)
    save_checkpoint(str(tmp_path / "float"), model, about(), candidates_V=torch.arange(1, 3001))
    save_int8(str(tmp_path / "int8"), compress(model), about())
    assert folder_bytes(str(tmp_path / "float")) > 3 * folder_bytes(str(tmp_path / "int8"))


def write_small(root: Path, model: str, **settings) -> LoadModels:
    candidates = world.write_world(root).candidates_folder
    small = compress(build_model(CONFIG, seed=5, text_vectors_IK=None))
    save_int8(str(root / model), small, about(model, **settings))
    return LoadModels(candidates, (ModelFolder(0, str(root / model)),), threads=1, workers_per_host=1)


def test_the_scorer_ranks_by_the_compressed_model(tmp_path):
    scored = LoadScorer(write_small(tmp_path, "transferred_int8"), Search(n=4, block_items=5))()(user_rows())
    small = compress(build_model(CONFIG, seed=5, text_vectors_IK=None))
    events = [torch.tensor([world.padded(values)]) for values in ([2, 1], [1, 1], [1, 1], [1, 1], [1, 2])]
    logits_V = (small.last_query(*events, target_domain=1) @ small.item_vectors(torch.tensor(world.ITEMS[1])).T)[0]
    logits = dict(zip(world.ITEMS[1], logits_V.tolist(), strict=True))
    expected = sorted(set(logits) - {1, 2}, key=lambda item: -logits[item])[:4]
    rows = scored[scored[c.USER_ID] == "films only"]
    assert rows[c.ITEM_NUM].tolist() == expected
    assert rows[c.SCORE].tolist() == pytest.approx([logits[item] for item in expected], rel=1e-5)


def test_the_compressed_model_can_be_searched_in_eight_bits_too(tmp_path):
    load = write_small(tmp_path, "transferred_int8")
    exact = LoadScorer(load, Search(n=4, block_items=5))()(user_rows())
    found = LoadScorer(load, Search(4, 5, COMPRESSED, 2.0))()(user_rows())
    order = [c.USER_ID, c.RANK]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), exact.sort_values(order, ignore_index=True), rtol=1e-5
    )  # fmt: skip


def test_a_compressed_control_still_sees_its_own_domain_only(tmp_path):
    users = user_rows().iloc[[2]]  # "both": film 7, book 9, film 1, book 13
    only_films = users.assign(item_nums=[world.padded([7, 1])], domain_nums=[world.padded([1, 1])])
    load = write_small(tmp_path, "target_only_int8", compressed_from="target_only")
    score = LoadScorer(load, Search(n=4, block_items=5))()
    pd.testing.assert_frame_equal(score(users), score(only_films))
