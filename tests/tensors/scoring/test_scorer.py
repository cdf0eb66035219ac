"""Scoring batches of users with stored models, against brute force."""

import gc
import pickle
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.retrieval import item_vectors
from crossrec_core.tensors.retrieval.cells import Cells, build_cells
from crossrec_core.tensors.retrieval.search import APPROXIMATE, COMPRESSED, Search, find_in_pool
from crossrec_core.tensors.scoring.scorer import (
    LoadModels,
    LoadRecall,
    LoadScorer,
    ModelFolder,
    load_models,
    stored_vectors,
)
from tests import scoring_world as world
from tests.oracles import best_items, filled_list, transition_scores

N = 5
OWN, OTHER, POPULAR = 0, 1, 2


def user_rows(wanted: dict[int, bool] | None = None) -> pd.DataFrame:
    rows = []
    for number, (name, (events, films, books)) in enumerate(world.USERS.items(), start=1):
        rows.append(
            {
                c.USER_NUM: number,
                c.USER_ID: name,
                c.ITEM_NUMS: world.padded([item for item, _ in events]),
                c.DOMAIN_NUMS: world.padded([domain for _, domain in events]),
                c.ACTION_NUMS: world.padded([1] * len(events)),
                c.GAP_BUCKETS: world.padded([1] * len(events)),
                c.EVENT_ORDERS: world.padded([1] * len(events)),
                "seen_1": films or None,
                "seen_2": books or None,
                "wanted_1": (wanted or {}).get(1, True),
                "wanted_2": (wanted or {}).get(2, True),
            }
        )
    return pd.DataFrame(rows)


def lists_of(scored: pd.DataFrame, model_index: int) -> dict[tuple[str, int], list[tuple[int, float]]]:
    own = scored[scored[c.MODEL_INDEX] == model_index].sort_values([c.USER_ID, c.DOMAIN_NUM, c.RANK])
    return {
        (user, domain): list(zip(rows[c.ITEM_NUM], rows[c.SCORE], strict=True))
        for (user, domain), rows in own.groupby([c.USER_ID, c.DOMAIN_NUM])
    }


def paths_of(scored: pd.DataFrame, model_index: int, user: str, domain_num: int) -> list[int]:
    is_row = (scored[c.MODEL_INDEX] == model_index) & (scored[c.USER_ID] == user) & (scored[c.DOMAIN_NUM] == domain_num)
    return scored[is_row].sort_values(c.RANK)[c.PATH_CODE].tolist()


@pytest.fixture
def scored(tmp_path: Path) -> pd.DataFrame:
    return world.load_scorer(tmp_path, n=N)()(user_rows())


def test_the_markov_lists_equal_brute_force_and_are_filled_by_popularity(scored: pd.DataFrame) -> None:
    expected = {}
    for name, (events, films, books) in world.USERS.items():
        for domain_num, seen in ((1, films), (2, books)):
            scores = transition_scores([item for item, _ in events], world.TRANSITIONS[domain_num], world.DECAY)
            expected[name, domain_num] = filled_list(scores, world.POPULARITY[domain_num], seen, N)
    assert lists_of(scored, 1) == expected


def test_item_scores_are_the_same_for_all_but_for_what_was_seen(scored: pd.DataFrame) -> None:
    expected = {}
    for name, (_, films, books) in world.USERS.items():
        for domain_num, seen in ((1, films), (2, books)):
            scores = world.SCORES[domain_num]
            expected[name, domain_num] = [(item, scores[item]) for item in best_items(scores, seen, N)]
    assert lists_of(scored, 0) == expected


def test_a_model_makes_lists_for_users_of_its_own_segments_alone(tmp_path: Path) -> None:
    load = world.write_world(tmp_path)
    served = {0: (c.NEW,), 1: (c.WARM, c.COLD_IN_DOMAIN)}
    models = tuple(ModelFolder(m.model_index, m.folder, served[m.model_index]) for m in load.models)
    codes = [0, 1, 0, 0, 2, 0]  # in films; "nothing" is new
    users = user_rows().assign(segment_code_1=codes, segment_code_2=[1, 0, 0, 1, 2, 1])
    split = LoadScorer(LoadModels(load.candidates_folder, models, 1, 1), Search(N, 5))()(users)
    whole = LoadScorer(load, Search(N, 5))()(users)
    is_new = whole[c.USER_ID] == "nothing"
    expected = whole[(whole[c.MODEL_INDEX] == 0) == is_new]
    keys = [c.MODEL_INDEX, c.DOMAIN_NUM, c.USER_ID, c.RANK]
    order = lambda rows: rows.sort_values(keys).reset_index(drop=True)  # noqa: E731
    pd.testing.assert_frame_equal(order(split), order(expected))
    assert len(split) == len(whole) / 2


def test_ranks_start_at_one_and_lists_are_short_only_where_candidates_run_out(scored: pd.DataFrame) -> None:
    sizes = scored.groupby([c.MODEL_INDEX, c.USER_ID, c.DOMAIN_NUM])[c.RANK].agg(["min", "max", "count"])
    assert (sizes["min"] == 1).all()
    assert (sizes["max"] == sizes["count"]).all()
    short = sizes[sizes["count"] < N]
    assert set(short.index) == {(0, "has nearly all", 1), (1, "has nearly all", 1)}
    assert (short["count"] == 2).all()


def test_the_path_names_the_evidence_behind_each_row(scored: pd.DataFrame) -> None:
    assert paths_of(scored, 1, "films only", 1) == [OWN, OWN, POPULAR, POPULAR, POPULAR]
    assert paths_of(scored, 1, "films only", 2) == [OTHER, OTHER, POPULAR, POPULAR, POPULAR]
    assert paths_of(scored, 1, "no evidence", 1) == [POPULAR] * N
    assert paths_of(scored, 1, "nothing", 2) == [POPULAR] * N
    assert paths_of(scored, 0, "both", 1) == [POPULAR] * N


def test_filled_scores_lie_below_zero_and_descend(scored: pd.DataFrame) -> None:
    markov = scored[scored[c.MODEL_INDEX] == 1]
    filled = markov[markov[c.PATH_CODE] == POPULAR]
    assert filled[c.SCORE].between(-1, 0, inclusive="left").all()
    assert (markov.groupby([c.USER_ID, c.DOMAIN_NUM])[c.SCORE].diff().dropna() <= 0).all()


def test_block_and_batch_sizes_change_nothing(tmp_path: Path, scored: pd.DataFrame) -> None:
    order = [c.MODEL_INDEX, c.USER_ID, c.DOMAIN_NUM, c.RANK]
    expected = scored.sort_values(order, ignore_index=True)
    for block_items, batch in ((1, 6), (1000, 1), (3, 4)):
        score = world.load_scorer(tmp_path, n=N, block_items=block_items)()
        users = user_rows()
        parts = [score(users.iloc[start : start + batch]) for start in range(0, len(users), batch)]
        pd.testing.assert_frame_equal(pd.concat(parts).sort_values(order, ignore_index=True), expected)


def test_what_a_worker_has_loaded_is_left_out_of_later_garbage_collections(tmp_path: Path) -> None:
    gc.unfreeze()
    try:
        load_models(world.write_world(tmp_path))
        assert gc.get_freeze_count() > 1000  # torch and all
    finally:
        gc.unfreeze()


def test_what_was_loaded_before_is_not_left_out_for_ever(tmp_path: Path) -> None:
    class Knot:
        """Refers to itself, so that counting references never frees it."""

        def __init__(self) -> None:
            self.me = self

    knot = Knot()
    is_left = weakref.ref(knot)
    try:
        load_models(world.write_world(tmp_path / "first"))
        del knot
        gc.collect()
        assert is_left() is not None  # frozen
        load_models(world.write_world(tmp_path / "second"))
        assert is_left() is None
    finally:
        gc.unfreeze()


def test_only_wanted_domains_get_lists(tmp_path: Path) -> None:
    scored = world.load_scorer(tmp_path, n=N)()(user_rows({1: False, 2: True}))
    assert set(scored[c.DOMAIN_NUM]) == {2}


def test_an_empty_batch_gives_an_empty_frame_of_the_same_types(tmp_path: Path, scored: pd.DataFrame) -> None:
    empty = world.load_scorer(tmp_path, n=N)()(user_rows().iloc[:0])
    assert empty.empty
    assert empty.dtypes.equals(scored.dtypes)


def test_a_popularity_share_speaks_where_there_is_no_evidence(tmp_path: Path) -> None:
    load = world.write_world(tmp_path)
    recent_V = torch.tensor([0.0] * 11 + [1.0])
    settings = {"history_decay": world.DECAY, "popularity_share": 0.5}
    weights = {**world.to_csr(world.TRANSITIONS[1], world.ITEMS[1]), "scores_V": recent_V}
    world.write_model(tmp_path / "mixed", "transitions", "mixed", 1, weights, settings)
    load = LoadModels(load.candidates_folder, (ModelFolder(0, str(tmp_path / "mixed")),), 1, 1)
    scored = LoadScorer(load, Search(n=2, block_items=5))()(user_rows())
    lists = lists_of(scored, 0)
    assert lists["nothing", 1] == [(12, 0.5), (1, 8 / 32 - 1)]
    assert lists["films only", 1][0] == (12, 0.5)
    assert paths_of(scored, 0, "nothing", 1) == [POPULAR, POPULAR]
    assert paths_of(scored, 0, "films only", 1) == [OWN, OWN]


def test_factors_fold_in_the_events_and_fill_users_without_any_known_item(tmp_path: Path) -> None:
    load = world.write_world(tmp_path)
    all_vectors_IK = torch.zeros(21, 2)
    all_vectors_IK[1], all_vectors_IK[2], all_vectors_IK[9] = torch.tensor([[2.0, 0], [0, 1], [1, 1]])
    vectors_VK = all_vectors_IK[torch.tensor(world.ITEMS[1])]
    tensors = {"vectors_VK": vectors_VK, "all_vectors_IK": all_vectors_IK, "gram_KK": all_vectors_IK.T @ all_vectors_IK}
    world.write_model(tmp_path / "als", "factors", "als", 1, tensors, {"regularisation": 0.5, "alpha": 2.0})
    load = LoadModels(load.candidates_folder, (ModelFolder(0, str(tmp_path / "als")),), 1, 1)
    scored = LoadScorer(load, Search(n=2, block_items=5))()(user_rows())
    # One event of item 1 = (2, 0): (YtY + alpha yyt + reg I) x = (1 + alpha) y, YtY = [[5, 1], [1, 2]]
    x = torch.linalg.solve(torch.tensor([[5 + 8 + 0.5, 1], [1, 2 + 0.5]]), 3 * torch.tensor([2.0, 0]))
    best = lists_of(scored, 0)
    assert best["has nearly all", 1][0] == (11, 0.0)
    assert best["nothing", 1] == [(1, 8 / 32 - 1), (11, 8 / 32 - 1)]
    user = pd.DataFrame(user_rows().iloc[[5]]).assign(seen_1=None)
    again = lists_of(LoadScorer(load, Search(n=1, block_items=5))()(user), 0)
    assert again["has nearly all", 1][0] == (1, pytest.approx(float(2 * x[0]), rel=1e-6))


def score_one(
    tmp_path: Path, kind: str, tensors: dict[str, torch.Tensor], settings: dict[str, object], *, n: int = 3
) -> pd.DataFrame:
    """Lists of films (domain 1) by one model."""
    load = world.write_world(tmp_path)
    world.write_model(tmp_path / kind, kind, kind, 1, tensors, settings)
    load = LoadModels(load.candidates_folder, (ModelFolder(0, str(tmp_path / kind)),), 1, 1)
    return LoadScorer(load, Search(n=n, block_items=5))()(user_rows())


def test_what_events_speak_against_is_left_to_popularity(tmp_path: Path) -> None:
    weights = {2: {3: 0.5, 4: 1.0}, 1: {3: -2.0, 4: -0.25, 5: 1.0}}
    scored = score_one(tmp_path, "transitions", world.to_csr(weights, world.ITEMS[1]), {"history_decay": world.DECAY})
    lists = lists_of(scored, 0)
    assert lists["films only", 1] == [(5, 1.0), (4, 0.25), (11, 8 / 32 - 1)]  # 3 has 0.25 - 2: as if nothing were known
    assert paths_of(scored, 0, "films only", 1) == [OWN, OWN, POPULAR]
    assert lists["has nearly all", 1] == [(11, 8 / 32 - 1), (12, 2 / 32 - 1)]


def test_texts_reach_items_without_events_and_leave_those_without_text_to_popularity(tmp_path: Path) -> None:
    vectors_IK = torch.zeros(21, 2)
    vectors_IK[[1, 2, 9, 13]] = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    vectors_IK[[5, 6]] = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])  # nobody has touched these two films
    tensors = {"all_vectors_IK": vectors_IK.half(), "vectors_VK": vectors_IK[torch.tensor(world.ITEMS[1])]}
    scored = score_one(tmp_path, "text_vectors", tensors, {"history_decay": 0.5}, n=4)
    lists = lists_of(scored, 0)
    length = 1.25**0.5
    near = [(5, (0.6 * 0.5 + 0.8) / length), (9, (0.6 * 0.5 + 0.8) / length), (6, -0.5 / length)]
    assert [item for item, _ in lists["films only", 1]] == [5, 9, 6, 11]  # a tie goes to the lower number
    assert [score for _, score in lists["films only", 1][:3]] == pytest.approx([score for _, score in near], rel=1e-3)
    assert [item for item, _ in lists["books only", 1]][:3] == [5, 9, 2]
    assert paths_of(scored, 0, "books only", 1) == [OTHER] * 4
    assert lists["no evidence", 1][0] == (9, pytest.approx(1.0, rel=1e-3))
    assert paths_of(scored, 0, "nothing", 1) == [POPULAR] * 4


def test_users_without_the_domain_get_factors_mapped_from_elsewhere(tmp_path: Path) -> None:
    target_IK, source_IK = torch.zeros(21, 2), torch.zeros(21, 2)
    target_IK[[1, 2, 3]] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    source_IK[[9, 13]] = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    mapping_KK = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    tensors = {
        "all_vectors_IK": target_IK, "vectors_VK": target_IK[torch.tensor(world.ITEMS[1])],
        "gram_KK": target_IK.T @ target_IK, "source_vectors_IK": source_IK, "source_gram_KK": source_IK.T @ source_IK,
        "mapping_KK": mapping_KK, "action_weights_DA": torch.tensor([[1.0, 1.0], [1.0, 2.0], [1.0, 0.5]]),
    }  # fmt: skip
    scored = score_one(tmp_path, "mapped_factors", tensors, {"regularisation": 0.5, "alpha": 4.0})
    lists = lists_of(scored, 0)
    # books only: items 9 and 13 at weight 0.5; (YtY + alpha w yyt + reg n I) x = (1 + alpha w) y
    user = torch.linalg.solve(torch.diag(torch.tensor([1 + 2.0 + 1, 4 + 8.0 + 1])), 3 * torch.tensor([1.0, 2.0]))
    mapped = user @ mapping_KK
    expected = {1: float(mapped[0]), 2: float(mapped[1]), 3: float(mapped.sum())}
    assert dict(lists["books only", 1]) == pytest.approx(expected, rel=1e-5)
    # films only: its own items 2 and 1, at weight 2
    gram = tensors["gram_KK"] + 8 * torch.eye(2) + 2 * 0.5 * torch.eye(2)
    own = torch.linalg.solve(gram, 9 * torch.ones(2))
    assert lists["films only", 1][0] == (3, pytest.approx(float(own.sum()), rel=1e-5))
    assert paths_of(scored, 0, "books only", 1) == [OTHER] * 3
    assert lists["nothing", 1] == [(1, 8 / 32 - 1), (11, 8 / 32 - 1), (4, 4 / 32 - 1)]


def test_a_model_made_for_other_ids_is_refused_in_one_line(tmp_path: Path) -> None:
    load = world.write_world(tmp_path)
    world.write_model(
        tmp_path / "old", "item_scores", "old", 1, {"scores_V": torch.zeros(12)}, fingerprint="ffff0000-20"
    )
    with pytest.raises(CheckpointError, match=r"^[^\n]*old: made for item table ffff0000, .* 0123abcd; fit"):
        LoadScorer(LoadModels(load.candidates_folder, (ModelFolder(0, str(tmp_path / "old")),), 1, 1), Search(2, 5))()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    load = world.write_world(tmp_path)
    world.write_model(tmp_path / "odd", "magic", "odd", 1, {"scores_V": torch.zeros(12)})
    with pytest.raises(CheckpointError, match="kind 'magic'; expected one of item_scores"):
        LoadScorer(LoadModels(load.candidates_folder, (ModelFolder(0, str(tmp_path / "odd")),), 1, 1), Search(2, 5))()


def test_a_worker_that_is_used_again_loads_once_even_after_pickling(tmp_path: Path) -> None:
    factory = world.load_scorer(tmp_path, n=N)
    load_models.cache_clear()
    factory()
    pickle.loads(pickle.dumps(factory))()
    assert load_models.cache_info().misses == 1
    assert load_models.cache_info().hits == 1


def write_factors(root: Path) -> LoadModels:
    """Factors of films that differ from item to item; item 12 has none."""
    load = world.write_world(root)
    all_vectors_IK = torch.randn(21, 6, generator=torch.Generator().manual_seed(3))
    all_vectors_IK[12] = 0
    vectors_VK = all_vectors_IK[torch.tensor(world.ITEMS[1])]
    tensors = {"vectors_VK": vectors_VK, "all_vectors_IK": all_vectors_IK, "gram_KK": all_vectors_IK.T @ all_vectors_IK}
    world.write_model(root / "als", "factors", "als", 1, tensors, {"regularisation": 0.5, "alpha": 2.0})
    return replace(load, models=(*load.models, ModelFolder(2, str(root / "als"))))


def in_order(scored: pd.DataFrame) -> pd.DataFrame:
    return scored.sort_values([c.MODEL_INDEX, c.DOMAIN_NUM, c.USER_ID, c.RANK], ignore_index=True)


def test_a_compressed_search_gives_everyone_the_exact_lists_those_that_it_cannot_answer_too(tmp_path: Path) -> None:
    load = write_factors(tmp_path)
    exact = in_order(LoadScorer(load, Search(2, 5))()(user_rows()))
    found = in_order(LoadScorer(load, Search(2, 5, COMPRESSED, 3.0))()(user_rows()))
    pd.testing.assert_frame_equal(found, exact, rtol=1e-6)
    assert {"nothing", "has nearly all", "both"} <= set(found[found[c.MODEL_INDEX] == 2][c.USER_ID])


def test_an_approximate_search_asks_the_index_that_lies_with_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    load, search = write_factors(tmp_path), Search(2, 5, APPROXIMATE, 3.0)
    exact = in_order(LoadScorer(load, Search(2, 5))()(user_rows()))
    vectors_at, asked, draw_pool = stored_vectors(tmp_path / "als"), [], Cells.draw_pool
    assert vectors_at is not None
    assert stored_vectors(tmp_path / "popularity/1") is None
    build_cells(tmp_path / "als", vectors_at, seed=1)

    def spy(cells: Cells, *arguments: Any, **named: Any) -> torch.Tensor:
        asked.append(cells.index.ntotal)
        return draw_pool(cells, *arguments, **named)

    monkeypatch.setattr(Cells, "draw_pool", spy)
    for with_cells in (False, True):
        found = in_order(LoadScorer(replace(load, with_cells=with_cells), search)()(user_rows()))
        pd.testing.assert_frame_equal(found, exact, rtol=1e-6)
        assert set(asked) == ({len(world.ITEMS[1])} if with_cells else set())


@pytest.mark.parametrize("shard_items", [1, 5, 7, 100])
@pytest.mark.parametrize("kind", ["exact", COMPRESSED])
def test_shards_of_any_size_change_no_bit_of_a_list(
    tmp_path: Path, shard_items: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_vectors, "BLOCK_ITEMS", 1)
    load, search = write_factors(tmp_path), Search(3, 5, kind, 2.0)
    whole = LoadScorer(load, search)()(user_rows())
    sharded = LoadScorer(replace(load, shard_bytes=shard_items * 6 * 4), search)()(user_rows())
    pd.testing.assert_frame_equal(sharded, whole, check_exact=True)


def test_recall_is_counted_for_models_that_multiply_vectors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    load = write_factors(tmp_path)
    compared = LoadRecall(load, Search(4, 5, COMPRESSED, 3.0))()(user_rows())
    assert set(compared[c.MODEL_INDEX]) == {2}
    listed = dict(zip(compared[c.USER_ID], compared[c.NUM_LISTED], strict=True))
    assert listed == {user: 2 if user == "has nearly all" else 4 for user in world.USERS}
    assert compared[c.NUM_FOUND].tolist() == compared[c.NUM_LISTED].tolist()

    def lose_the_last(search: Search, scores: object, seen: object) -> tuple[torch.Tensor, ...]:
        positions_BN, scores_BN, holds_B = find_in_pool(search, scores, seen)  # type: ignore[arg-type]
        positions_BN[:, -1] = -1
        return positions_BN, scores_BN, holds_B

    monkeypatch.setattr("crossrec_core.tensors.scoring.ranked_lists.find_in_pool", lose_the_last)
    poorer = LoadRecall(load, Search(4, 5, COMPRESSED, 3.0))()(user_rows())
    lost = (poorer[c.NUM_LISTED] - poorer[c.NUM_FOUND]).tolist()
    assert set(lost) == {0, 1}
    assert lost[poorer[c.USER_ID].tolist().index("nothing")] == 0


def test_without_a_model_that_multiplies_vectors_there_is_nothing_to_compare(tmp_path: Path) -> None:
    compared = LoadRecall(world.write_world(tmp_path), Search(4, 5, COMPRESSED, 3.0))()(user_rows())
    assert len(compared) == 0
    assert list(compared) == [c.USER_ID, c.MODEL_INDEX, c.DOMAIN_NUM, c.NUM_LISTED, c.NUM_FOUND]
