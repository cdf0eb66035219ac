import pickle

import numpy as np
import pytest

from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.texts.text import LoadTextEncoder, encode, fit_text, load_text, save_text
from crossrec_core.tensors.texts.whitening import fit_whitening, whiten

NOUNS = {"tea": ["green", "black", "leaf", "cup", "mint"], "pan": ["steel", "iron", "fry", "wok", "lid"]}
TEXTS = [f"{kind} {a} {b}" for kind, words in NOUNS.items() for a in words for b in words if a != b]


def fit(**changes):
    values = {"dimensions": 6, "num_buckets": 1024, "min_document_count": 2, "seed": 1}
    return fit_text(TEXTS, **{**values, **changes})


def test_texts_about_the_same_thing_are_closer():
    raw_NW = encode(fit(), TEXTS)
    vectors_NK = whiten(fit_whitening(raw_NW, dimensions=6), raw_NW)
    likeness = vectors_NK @ vectors_NK.T
    same = np.equal.outer(np.arange(40) < 20, np.arange(40) < 20)
    np.fill_diagonal(likeness, np.nan)
    assert np.nanmean(likeness[same]) > np.nanmean(likeness[~same]) + 0.2


def test_a_text_without_known_words_has_the_zero_vector():
    vectors_NK = encode(fit(), ["green tea", "", "zzz qqq"])
    assert vectors_NK.dtype == np.float32
    assert vectors_NK.any(axis=1).tolist() == [True, False, False]


def test_case_does_not_matter():
    encoder = fit()
    assert np.array_equal(encode(encoder, ["Green TEA"]), encode(encoder, ["green tea"]))


def test_a_saved_encoder_gives_the_same_vectors(tmp_path):
    encoder = fit()
    save_text(str(tmp_path / "text"), encoder)
    assert np.array_equal(encode(load_text(str(tmp_path / "text")), TEXTS), encode(encoder, TEXTS))
    factory = pickle.loads(pickle.dumps(LoadTextEncoder(str(tmp_path / "text"))))
    assert np.array_equal(factory()(TEXTS), encode(encoder, TEXTS))


def test_the_same_seed_gives_the_same_encoder():
    assert np.array_equal(fit().components_TW, fit().components_TW)


def test_few_texts_fill_the_first_dimensions_and_leave_the_rest_zero():
    texts = ["green tea", "black tea", "iron tea"]
    encoder = fit_text(texts, dimensions=8, num_buckets=64, min_document_count=1, seed=1)
    vectors_NK = encode(encoder, ["green tea"])
    assert vectors_NK.shape == (1, 8)
    assert not vectors_NK[:, 3:].any()


def test_no_word_in_enough_texts_is_one_line():
    with pytest.raises(CrossRecError, match=r"lower text\.min_document_count"):
        fit(min_document_count=1_000)
