"""Scoring with a stored neural model: the same numbers in any batch, probabilities for lists and pairs."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.tensors.inputs.user_batch import to_user_batch
from crossrec_core.tensors.network.checkpoint import About, save_checkpoint
from crossrec_core.tensors.network.encoder import ModelConfig
from crossrec_core.tensors.probability.likes import likes_of, log_odds
from crossrec_core.tensors.probability.ranker import NUM_FEATURES, Ranker, pair_features, probability, save_ranker
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.retrieval.candidates import load_candidates, save_candidates
from crossrec_core.tensors.retrieval.search import COMPRESSED, Search
from crossrec_core.tensors.scoring.neural_scorer import encode, load_neural
from crossrec_core.tensors.scoring.scorer import LoadModels, LoadPairScorer, LoadScorer, ModelFolder
from crossrec_core.tensors.training.finetune import build_model
from tests import scoring_world as world
from tests.tensors.scoring.test_scorer import user_rows

N = 4
WIDTH = 8
CONFIG = ModelConfig(
    encoder="gpt", num_items=20, num_domains=2, num_actions=1, num_gap_buckets=40, width=WIDTH, layers=1, heads=2,
    dropout=0.3, id_dropout=0.0, max_len=world.MAX_LEN, text_dimensions=0, relative_bias="none", adapter_rank=0,
    mask_share=0.3, mask_last_share=0.5,
)  # fmt: skip


def write_neural(folder: Path, model: str, domain_num: int, *, with_ranker: bool = True) -> None:
    weights_F = torch.linspace(-1, 1, NUM_FEATURES).double()
    ranker = Ranker(weights_F, torch.zeros(NUM_FEATURES).double(), torch.ones(NUM_FEATURES).double(), 1.0, 0.0, 100)
    about = About("neural", model, "films", domain_num, world.FINGERPRINT, {})
    save_checkpoint(
        str(folder), build_model(CONFIG, seed=5, text_vectors_IK=None), about,
        candidates_V=torch.tensor(world.ITEMS[domain_num]), ranker=ranker if with_ranker else None,
    )  # fmt: skip


def load_one(root: Path, model: str, *, with_ranker: bool = True) -> LoadModels:
    candidates = world.write_world(root).candidates_folder
    write_neural(root / model, model, 1, with_ranker=with_ranker)
    return LoadModels(candidates, (ModelFolder(0, str(root / model)),), threads=1, workers_per_host=1)


def test_the_lists_are_those_of_the_model_and_users_without_events_get_popularity(tmp_path: Path) -> None:
    scored = LoadScorer(load_one(tmp_path, c.TRANSFERRED), Search(n=N, block_items=5))()(user_rows())
    model = build_model(CONFIG, seed=5, text_vectors_IK=None).eval()
    with torch.no_grad():
        events = [torch.tensor([world.padded(values)]) for values in ([2, 1], [1, 1], [1, 1], [1, 1], [1, 1])]
        logits_V = (model.last_query(*events, target_domain=1) @ model.item_vectors(torch.tensor(world.ITEMS[1])).T)[0]
    logits = dict(zip(world.ITEMS[1], logits_V.tolist(), strict=True))
    expected = sorted(set(logits) - {1, 2}, key=lambda item: -logits[item])[:N]
    rows = scored[scored[c.USER_ID] == "films only"]
    assert rows[c.ITEM_NUM].tolist() == expected
    assert rows[c.SCORE].tolist() == pytest.approx([logits[item] for item in expected], rel=1e-5)
    assert set(rows[c.PATH_CODE]) == {0}
    nothing = scored[scored[c.USER_ID] == "nothing"]
    assert nothing[c.ITEM_NUM].tolist() == [1, 11, 4, 8]
    assert set(nothing[c.PATH_CODE]) == {2}


def test_scores_are_the_same_bits_whoever_shares_the_batch(tmp_path: Path) -> None:
    score = LoadScorer(load_one(tmp_path, c.TRANSFERRED), Search(n=N, block_items=5))()
    users = pd.concat([user_rows()] * 30, ignore_index=True).assign(user_id=lambda frame: frame.index.astype(str))
    together = score(users)
    alone = pd.concat([score(users.iloc[[row]]) for row in (0, 1, 2, 5, 31, 178)])
    expected = together[together[c.USER_ID].isin(alone[c.USER_ID])]
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), expected.reset_index(drop=True), check_exact=True)


def test_padding_and_buckets_change_no_query() -> None:
    model = build_model(CONFIG, seed=5, text_vectors_IK=None).eval()
    generator = torch.Generator().manual_seed(1)
    length_B = torch.tensor([0, 1, 7, 8, 9, 16, 17, 30])
    is_event_BL = torch.arange(30) < length_B[:, None]
    items_BL = torch.randint(1, 20, (8, 30), generator=generator) * is_event_BL
    events = [items_BL, *[is_event_BL.long()] * 4]
    with torch.no_grad():
        whole_BD = model.last_query(*events, target_domain=2)
        torch.testing.assert_close(encode(model, events, 2), whole_BD, rtol=1e-4, atol=1e-6)


def test_the_control_without_transfer_sees_the_events_of_its_own_domain_only(tmp_path: Path) -> None:
    users = user_rows().iloc[[2]]  # "both": film 7, book 9, film 1, book 13
    only_films = users.assign(item_nums=[world.padded([7, 1])], domain_nums=[world.padded([1, 1])])
    score = LoadScorer(load_one(tmp_path, c.TARGET_ONLY), Search(n=N, block_items=5))()
    pd.testing.assert_frame_equal(score(users), score(only_films))
    books_only = score(user_rows().iloc[[1]])
    assert set(books_only[c.PATH_CODE]) == {2}


def test_probabilities_of_lists_and_pairs_are_the_rankers(tmp_path: Path) -> None:
    load = load_one(tmp_path, c.TRANSFERRED)
    scored = LoadScorer(load, Search(n=N, block_items=5))()(user_rows())
    pairs = user_rows().assign(pair_item_nums_1=None, pair_labels_1=None)
    pairs.at[0, "pair_item_nums_1"], pairs.at[0, "pair_labels_1"] = [12, 3, 999], [1, 0, 1]
    pairs.at[2, "pair_item_nums_1"], pairs.at[2, "pair_labels_1"] = [4], [0]
    found = LoadPairScorer(load)()(pairs)
    assert list(zip(found[c.USER_ID], found[c.ITEM_NUM], found[c.LABEL], strict=True)) == [
        ("films only", 12, 1), ("films only", 3, 0), ("both", 4, 0),
    ]  # fmt: skip
    both = pd.concat([found, scored]).query("user_id == 'films only' and item_num == 12")[c.PROBABILITY]
    assert len(both) in (1, 2)
    assert both.nunique() == 1
    assert both.iloc[0] == pytest.approx(by_hand(tmp_path / c.TRANSFERRED, load.candidates_folder), rel=1e-6)
    assert scored[c.PROBABILITY].between(0, 1).all()


def by_hand(folder: Path, candidates_folder: str) -> float:
    """The probability that "films only" takes item 12, the last candidate."""
    model = build_model(CONFIG, seed=5, text_vectors_IK=None).eval()
    with torch.no_grad():
        events = [torch.tensor([world.padded(values)]) for values in ([2, 1], [1, 1], [1, 1], [1, 1], [1, 1])]
        query_PD, vector_PD = model.last_query(*events, target_domain=1), model.item_vectors(torch.tensor([12]))
    phi_PF = pair_features(
        query_PD, vector_PD, torch.tensor([world.POPULARITY[1][12]]), torch.tensor([2]), torch.tensor([False])
    )
    weights_F = torch.linspace(-1, 1, NUM_FEATURES).double()
    ranker = Ranker(weights_F, torch.zeros(NUM_FEATURES).double(), torch.ones(NUM_FEATURES).double(), 1.0, 0.0, 100)
    return float(probability(ranker, phi_PF)[0])


def test_where_values_say_what_is_liked_the_rankers_read_likes(tmp_path: Path) -> None:
    """A ranker of the two odds alone: the item's once, the user's twice."""
    load = load_one(tmp_path, c.TRANSFERRED)
    weights_F = torch.zeros(NUM_FEATURES + 2).double()
    weights_F[-3:-1] = torch.tensor([1.0, 2.0])
    save_ranker(tmp_path / c.TRANSFERRED, Ranker(weights_F, 0 * weights_F, torch.ones_like(weights_F), 1.0, 0.0, 100))
    candidates = load_candidates(load.candidates_folder)
    counts_V2 = torch.tensor([[item % 3, 3] for item in world.ITEMS[1]])
    likes = {"likes": {1: counts_V2}, "like_strengths": {1: 4.0}}
    save_candidates(load.candidates_folder, **{**vars(candidates), **likes})
    pairs = user_rows().assign(pair_item_nums_1=[[4]] * 6, pair_labels_1=[[1]] * 6)
    found = LoadPairScorer(load)()(pairs.assign(num_likes_1=[2] * 6, num_rated_1=[2] * 6))
    own = likes_of(counts_V2, 4.0)
    user = float(log_odds(torch.tensor([[2, 2]]), share=own.share, strength=4.0))
    expected = torch.sigmoid(own.items_V[world.ITEMS[1].index(4)] + 2 * user)
    assert found[c.PROBABILITY].tolist() == pytest.approx([float(expected)] * 6)


def test_without_a_ranker_there_is_no_probability(tmp_path: Path) -> None:
    load = load_one(tmp_path, c.TRANSFERRED, with_ranker=False)
    assert LoadScorer(load, Search(n=N, block_items=5))()(user_rows())[c.PROBABILITY].isna().all()
    pairs = user_rows().assign(pair_item_nums_1=[[3]] * 6, pair_labels_1=[[1]] * 6)
    assert LoadPairScorer(load)()(pairs).empty


def test_loaded_scores_need_no_gradient(tmp_path: Path) -> None:
    load = load_one(tmp_path, c.TRANSFERRED)
    candidates = candidates_of(load_candidates(load.candidates_folder), 1)
    score = load_neural(tmp_path / c.TRANSFERRED, {}, replace(candidates))
    assert not score(to_user_batch(user_rows(), [1])).block(0, 3).requires_grad


@pytest.mark.parametrize("encoder", ["gpt", "bert", "hstu"])
def test_the_times_of_a_users_events_reach_a_model_that_reads_times(tmp_path: Path, encoder: str) -> None:
    candidates = candidates_of(load_candidates(world.write_world(tmp_path).candidates_folder), 1)
    config = replace(CONFIG, encoder=encoder, relative_bias="time", dropout=0.0)
    model = build_model(config, seed=5, text_vectors_IK=None).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "time_TH" in name or name == "items.ids":
                values.copy_(torch.randn(values.shape, generator=torch.Generator().manual_seed(3)))
    about = About("neural", c.TRANSFERRED, "films", 1, world.FINGERPRINT, {})
    save_checkpoint(str(tmp_path / "m"), model, about, candidates_V=torch.tensor(world.ITEMS[1]))
    users = user_rows().iloc[[0]]
    orders = world.padded([1_000_000, 90_000_000_000])
    users = users.assign(event_orders=[orders])
    batch = to_user_batch(users, [1])
    found = load_neural(tmp_path / "m", {}, candidates)(batch).block(0, len(world.ITEMS[1]))
    events = [batch.items_BL, batch.domains_BL, batch.actions_BL, batch.gaps_BL, batch.orders_BL]
    assert batch.orders_BL.tolist() == [orders]
    with torch.no_grad():
        vectors_VD = model.item_vectors(torch.tensor(world.ITEMS[1]))
        expected = model.last_query(*events, target_domain=1) @ vectors_VD.T
        timeless = model.last_query(*events[:4], torch.zeros_like(events[4]), target_domain=1) @ vectors_VD.T
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, timeless, atol=1e-3)


def test_a_compressed_search_gives_the_exact_lists_probabilities_and_paths(tmp_path: Path) -> None:
    load = load_one(tmp_path, c.TRANSFERRED)
    exact = LoadScorer(load, Search(n=N, block_items=5))()(user_rows())
    found = LoadScorer(load, Search(N, 5, COMPRESSED, 2.0))()(user_rows())
    order = [c.DOMAIN_NUM, c.USER_ID, c.RANK]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), exact.sort_values(order, ignore_index=True), rtol=1e-5
    )  # fmt: skip
