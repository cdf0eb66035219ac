"""Blends as scorers: what they rank, and the pool they are fitted on."""

import json
from math import exp, log

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.blending.blend import BETA, NUM_FEATURES, Blend
from crossrec_core.tensors.blending.blend_scorer import blend_scorer, draw_pool, load_blend, save_blend
from crossrec_core.tensors.blending.sources import gather_evidence, trend_phi
from crossrec_core.tensors.probability.ranker import Ranker, save_ranker
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.retrieval.candidates import load_candidates, save_candidates
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.scorer import (
    LoadModels,
    LoadPairScorer,
    LoadScorer,
    ModelFolder,
    load_models,
    load_source,
)
from tests.scoring_world import FINGERPRINT, ITEMS, write_world
from tests.tensors.scoring.test_scorer import user_rows
from tests.user_batches import batch_of

HISTORIES = [[(2, 1), (1, 1)], [(9, 2)], [], [(1, 1)]]
SEEN = {1: [[1, 2], [], [], [1]]}
USERS = batch_of(HISTORIES, max_len=4, seen=SEEN)


def blend_of(weights_J):
    """A blend with the same weights for every user."""
    gate_JF = torch.zeros(len(weights_J), NUM_FEATURES, dtype=torch.float64)
    gate_JF[:, -1] = (BETA * torch.tensor(weights_J, dtype=torch.float64)).expm1().log() / BETA  # softplus undone
    ones_J, ones_F = torch.ones(len(weights_J)).double(), torch.ones(NUM_FEATURES).double()
    return Blend(gate_JF, 0 * ones_J, ones_J, 0 * ones_F, ones_F, -9 * ones_F, 9 * ones_F, torch.tensor(True))


@pytest.fixture
def world(tmp_path):
    """The markov model of films as the one source, and the films."""
    write_world(tmp_path)
    candidates = candidates_of(load_candidates(str(tmp_path / "candidates")), 1)
    return load_source(str(tmp_path / "crossrec/1"), "markov", candidates, FINGERPRINT), candidates


def test_a_blend_of_one_source_ranks_as_the_source_where_it_knows(world):
    source, candidates = world
    own = source.score(USERS).block(0, 12)
    blended = blend_scorer([source], blend_of([1.0, 0.0, 0.0]), None, candidates)(USERS).block(0, 12)
    for row in (0, 3):
        known = own[row] > 0
        assert torch.equal(own[row][known].argsort(stable=True), blended[row][known].argsort(stable=True))
        assert blended[row][known].min() > blended[row][~known].max()


def test_a_user_without_evidence_gets_what_is_popular(world):
    source, candidates = world
    scores = blend_scorer([source], blend_of([1.0, 0.5, 0.0]), None, candidates)(USERS)
    assert scores.block(0, 12)[2].argmax() == candidates.popularity_V.argmax()
    assert scores.is_personal_B.tolist() == [True, False, False, True]


def test_scores_do_not_depend_on_blocks_or_company(world):
    source, candidates = world
    scorer = blend_scorer([source], blend_of([0.7, 0.2, 3.0]), None, candidates)
    whole = scorer(USERS).block(0, 12)
    assert torch.equal(whole, torch.cat([scorer(USERS).block(0, 5), scorer(USERS).block(5, 12)], dim=1))
    for row, history in enumerate(HISTORIES):
        alone = scorer(batch_of([history], max_len=4, seen={1: [SEEN[1][row]]})).block(0, 12)
        assert torch.equal(alone[0], whole[row])
    rows_P, places_P = torch.nonzero(torch.ones_like(whole), as_tuple=True)
    assert torch.allclose(scorer(USERS).at(rows_P, places_P), whole.flatten(), atol=1e-5)


def test_the_pool_holds_the_best_of_each_source_once_and_nothing_seen(world):
    source, candidates = world
    evidence = gather_evidence([source], USERS, candidates, trend_phi(candidates.trends_HV))
    pool = draw_pool(evidence, USERS, candidates, size=2)
    items = [sorted(candidates.items_V[p[v]].tolist())
             for p, v in zip(pool.positions_BM, pool.is_valid_BM, strict=True)]  # fmt: skip
    # The two most popular films are 1 and 11, then 4 and 8; films 2 and 1 lead to 3 and 4, book 9 to no film
    assert items == [[3, 4, 11], [1, 11], [1, 11], [2, 3, 4, 11]]
    for row, found in enumerate(items):
        assert len(found) == len(set(found))
        assert not set(found) & set(SEEN[1][row])
        assert set(found) <= set(ITEMS[1])


def test_a_blend_of_another_release_is_refused_in_one_line(tmp_path):
    tensors = vars(blend_of([1.0]))
    older = {("weights_JF" if name == "gate_JF" else name): values for name, values in tensors.items()}
    save_file(older, tmp_path / "blend.safetensors")
    with pytest.raises(
        CheckpointError, match=r"blend.safetensors: holds .*weights_JF; expected .*run jobs/blend.py again"
    ):
        load_blend(tmp_path)


def stored(folder, blend, ranker=None):
    """A blend of markov in the world; what a worker loads, and the blend's folder."""
    load, own = write_world(folder), folder / "crossrec/1"
    own.mkdir(parents=True)
    save_blend(own, blend)
    if ranker is not None:
        save_ranker(own, ranker)
    about = {"kind": "blend", "model": "crossrec", "domain": "films", "domain_num": 1, "id_fingerprint": FINGERPRINT,
             "settings": {"sources": ["markov"]}}  # fmt: skip
    (own / "model.json").write_text(json.dumps(about))
    return LoadModels(load.candidates_folder, (ModelFolder(0, str(own)),), threads=1, workers_per_host=1), own


def test_a_pair_has_the_probability_of_its_place_in_a_list(tmp_path):
    """With seen items: what a source says is a share of what it says of all that the user may get."""
    num_features = 1 + 3 + NUM_FEATURES
    zeros_F = torch.zeros(num_features, dtype=torch.float64)
    ranker = Ranker(torch.linspace(-1, 1, num_features).double(), zeros_F, zeros_F + 1, 1.0, 0.0, 100)
    load, _ = stored(tmp_path, blend_of([1.0, 0.5, 0.2]), ranker)
    listed = LoadScorer(load, Search(n=5, block_items=5))()(user_rows())
    assert listed[c.PROBABILITY].notna().all()
    items = {user: rows[c.ITEM_NUM].tolist() for user, rows in listed.groupby(c.USER_ID)}
    asked = [items.get(user, []) for user in user_rows()[c.USER_ID]]
    labels = [[1] * len(nums) for nums in asked]
    pairs = LoadPairScorer(load)()(user_rows().assign(pair_item_nums_1=asked, pair_labels_1=labels))
    key = [c.USER_ID, c.ITEM_NUM]
    found = pairs.set_index(key)[c.PROBABILITY].sort_index()
    expected = listed.set_index(key)[c.PROBABILITY].sort_index()
    pd.testing.assert_series_equal(found, expected, rtol=1e-9)


def rated(folder, *, with_likes=True):
    """A blend whose probability reads nothing but likes: twice the item's odds and three times the user's."""
    num_features = 1 + 3 + (2 if with_likes else 0) + NUM_FEATURES
    weights_F = torch.zeros(num_features, dtype=torch.float64)
    weights_F[4:6] = torch.tensor([2.0, 3.0])
    zeros_F = torch.zeros_like(weights_F)
    load, _ = stored(folder, blend_of([1.0, 0.5, 0.2]), Ranker(weights_F, zeros_F, zeros_F + 1, 1.0, 0.0, 100))
    if with_likes:
        found = load_candidates(load.candidates_folder)
        counts_V2 = torch.tensor([[item % 3, 3] for item in ITEMS[1]])
        save_candidates(load.candidates_folder, **{**vars(found), "likes": {1: counts_V2}, "like_strengths": {1: 4.0}})
    return load


def rated_rows():
    return user_rows().assign(num_likes_1=[0, 1, 2, 3, 4, 0], num_rated_1=[0, 4, 4, 4, 4, 0])


def test_where_values_say_what_is_liked_the_probability_reads_the_likes_of_item_and_user(tmp_path):
    asked, labels = [None, *[[3, 8]] * 5], [None, *[[1, 0]] * 5]  # not of the first user: rows move up
    found = LoadPairScorer(rated(tmp_path))()(rated_rows().assign(pair_item_nums_1=asked, pair_labels_1=labels))
    pairs = rated_rows().iloc[1:]
    share = (12 + 1) / (36 + 2)  # of all films' ratings that are likes, by Laplace's rule
    for user, num_likes, num_rated in zip(pairs[c.USER_ID], pairs["num_likes_1"], pairs["num_rated_1"], strict=True):
        for item in (3, 8):
            logit = 2 * odds(item % 3, 3, share) + 3 * odds(num_likes, num_rated, share)
            (own,) = found[(found[c.USER_ID] == user) & (found[c.ITEM_NUM] == item)][c.PROBABILITY]
            assert own == pytest.approx(1 / (1 + exp(-logit)))


def odds(num_likes, num_rated, share, strength=4.0):
    own = (num_likes + strength * share) / (num_rated + strength)
    return log(own / (1 - own)) - log(share / (1 - share))


def test_the_probability_with_likes_is_the_same_bits_whoever_shares_the_batch(tmp_path):
    score = LoadScorer(rated(tmp_path), Search(n=5, block_items=5))()
    users = pd.concat([rated_rows()] * 30, ignore_index=True).assign(user_id=lambda frame: frame.index.astype(str))
    together = score(users)
    alone = pd.concat([score(users.iloc[[row]]) for row in (0, 1, 2, 4, 31, 178)])
    expected = together[together[c.USER_ID].isin(alone[c.USER_ID])]
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), expected.reset_index(drop=True), check_exact=True)


def test_where_they_do_not_counts_of_likes_change_no_bit(tmp_path):
    score = LoadScorer(rated(tmp_path, with_likes=False), Search(n=5, block_items=5))()
    pd.testing.assert_frame_equal(score(rated_rows()), score(user_rows()), check_exact=True)


def test_likes_change_no_list(tmp_path):
    score = LoadScorer(rated(tmp_path), Search(n=5, block_items=5))()
    pd.testing.assert_frame_equal(
        score(rated_rows()).drop(columns=c.PROBABILITY), score(user_rows()).drop(columns=c.PROBABILITY),
        check_exact=True,
    )  # fmt: skip


def test_a_blend_is_loaded_with_its_sources_and_refused_without(tmp_path):
    blend = blend_of([1.0, 0.5, 0.0])
    models, folder = stored(tmp_path, blend)
    loaded = load_blend(folder)
    assert torch.equal(loaded.gate_JF, blend.gate_JF)
    assert bool(loaded.is_positive)
    (loaded,) = load_models(models)
    source = load_source(str(folder), "markov", loaded.candidates, FINGERPRINT)
    expected = blend_scorer([source], blend, None, loaded.candidates)(USERS).block(0, 12)
    assert torch.equal(loaded.score(USERS).block(0, 12), expected)
    (tmp_path / "markov/1/model.json").unlink()
    load_models.cache_clear()
    with pytest.raises(CheckpointError, match=r"markov/1/model\.json: cannot be read"):
        load_models(models)
