import json

import pytest
import torch

from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.folders import read_tensors
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.network.checkpoint import About, load_about, load_checkpoint, save_checkpoint
from crossrec_core.tensors.probability.ranker import fit_ranker
from tests.tensors.worlds import random_columns, tiny_model

ABOUT = About("neural", "transferred", "thin", 2, "4f1a0000-14-14", {"epochs": 3})


def outputs(model):
    return model.last_query(*(random_columns(5, 6)[name] for name in SEQUENCE_COLUMNS), target_domain=1)


def test_a_saved_model_gives_the_same_outputs(tmp_path):
    text_vectors_IK = torch.randn(21, 4, generator=torch.Generator().manual_seed(1))
    model = tiny_model(text_vectors_IK=text_vectors_IK, text_dimensions=4)
    save_checkpoint(str(tmp_path / "m"), model, ABOUT, candidates_V=torch.tensor([2, 5]))
    loaded = load_checkpoint(str(tmp_path / "m"), id_fingerprint=ABOUT.id_fingerprint)
    assert loaded.about == load_about(str(tmp_path / "m")) == ABOUT
    assert torch.equal(outputs(loaded.model), outputs(model))
    stored = read_tensors(tmp_path / "m" / "vectors_VD.safetensors")["vectors_VD"]
    assert torch.equal(stored, model.item_vectors(torch.tensor([2, 5])))
    assert loaded.ranker is None


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu", "lstm", "gru"])
def test_every_encoder_comes_back_with_its_bias_and_adapters(tmp_path, encoder):
    bias = "none" if encoder in ("lstm", "gru") else "time_and_position"
    model = tiny_model(encoder=encoder, relative_bias=bias, adapter_rank=2)
    with torch.no_grad():
        for values in model.parameters():
            values += 0.1 * torch.randn(values.shape, generator=torch.Generator().manual_seed(values.numel()))
        model.items.ids[0] = 0
    save_checkpoint(str(tmp_path / "m"), model, ABOUT)
    loaded = load_checkpoint(str(tmp_path / "m"), num_items=23).model
    assert torch.equal(outputs(loaded), outputs(model))
    assert not torch.equal(outputs(loaded), outputs(tiny_model(encoder=encoder)))


def test_a_checkpoint_of_another_release_is_one_line(tmp_path):
    save_checkpoint(str(tmp_path / "m"), tiny_model(), ABOUT)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    del config["relative_bias"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json is of another release; run jobs/pretrain"):
        load_checkpoint(str(tmp_path / "m"))


def test_a_model_from_before_inputs_were_normalised_gives_the_outputs_it_gave(tmp_path):
    model = tiny_model(normalise_inputs=False)
    save_checkpoint(str(tmp_path / "m"), model, ABOUT)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    del config["normalise_inputs"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert torch.equal(outputs(load_checkpoint(str(tmp_path / "m")).model), outputs(model))
    assert not torch.equal(outputs(tiny_model()), outputs(model))


def test_the_ranker_travels_with_the_model(tmp_path):
    phi_PF = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    ranker = fit_ranker(phi_PF, (phi_PF[:, 0] > 0).long(), torch.arange(40))
    save_checkpoint(str(tmp_path / "m"), tiny_model(), ABOUT, ranker=ranker)
    loaded = load_checkpoint(str(tmp_path / "m")).ranker
    assert torch.equal(loaded.weights_F, ranker.weights_F)
    assert (loaded.slope, loaded.offset, loaded.num_pairs) == (ranker.slope, ranker.offset, 40)


def test_a_changed_id_table_is_refused_in_one_line(tmp_path):
    save_checkpoint(str(tmp_path / "m"), tiny_model(), ABOUT)
    with pytest.raises(CheckpointError, match="item table 4f1a0000, this run has 9c200000; run jobs/finetune"):
        load_checkpoint(str(tmp_path / "m"), id_fingerprint="9c200000-14-14")


def test_new_items_get_zero_rows_and_old_outputs_stay(tmp_path):
    model = tiny_model()
    save_checkpoint(str(tmp_path / "m"), model, ABOUT)
    grown = load_checkpoint(str(tmp_path / "m"), num_items=25).model
    assert grown.config.num_items == 25
    assert not grown.item_vectors(torch.tensor([21, 25])).any()
    assert torch.equal(outputs(grown), outputs(model))


def test_a_smaller_item_table_is_refused(tmp_path):
    save_checkpoint(str(tmp_path / "m"), tiny_model(), ABOUT)
    with pytest.raises(CheckpointError, match="20 items, this run has 19"):
        load_checkpoint(str(tmp_path / "m"), num_items=19)


def test_a_save_that_fails_leaves_the_old_folder_whole(tmp_path):
    path = str(tmp_path / "m")
    save_checkpoint(path, tiny_model(), ABOUT)
    broken = About("neural", "transferred", "thin", 2, "x", {"epochs": object()})
    with pytest.raises(TypeError):
        save_checkpoint(path, tiny_model(seed=1), broken)
    assert torch.equal(outputs(load_checkpoint(path).model), outputs(tiny_model()))
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_a_second_save_replaces_the_first(tmp_path):
    path = str(tmp_path / "m")
    save_checkpoint(path, tiny_model(), ABOUT)
    mapped = load_checkpoint(path).model
    save_checkpoint(path, tiny_model(seed=1), ABOUT)
    assert torch.equal(outputs(load_checkpoint(path).model), outputs(tiny_model(seed=1)))
    assert torch.equal(outputs(mapped), outputs(tiny_model()))
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_a_missing_or_broken_folder_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(str(tmp_path / "none"))
    save_checkpoint(str(tmp_path / "m"), tiny_model(), ABOUT)
    (tmp_path / "m" / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: cannot be read"):
        load_checkpoint(str(tmp_path / "m"))


def test_a_checkpoint_goes_to_any_store_that_fsspec_knows():
    save_checkpoint("memory://lake/m", tiny_model(), ABOUT)
    assert torch.equal(outputs(load_checkpoint("memory://lake/m").model), outputs(tiny_model()))
