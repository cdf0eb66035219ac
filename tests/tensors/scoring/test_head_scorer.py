"""Scoring with a head over the pretrained model: the head ranks the shortlist, the rest stays as it was."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec_core import columns as c
from crossrec_core.errors import CheckpointError
from crossrec_core.tensors.folders import write_json
from crossrec_core.tensors.inputs.batches import SEQUENCE_COLUMNS
from crossrec_core.tensors.inputs.user_batch import to_user_batch
from crossrec_core.tensors.meta_learning.learning_curves import Asking
from crossrec_core.tensors.meta_learning.meta_artifacts import AboutHead, load_head, save_head
from crossrec_core.tensors.meta_learning.meta_heads import HeadConfig, build_head
from crossrec_core.tensors.meta_learning.task_features import count_features, to_tasks
from crossrec_core.tensors.meta_learning.tasks import Pairs, cut_at_end, draw_task_negatives, support_pairs
from crossrec_core.tensors.network.checkpoint import About, save_checkpoint
from crossrec_core.tensors.retrieval.block_scores import candidates_of
from crossrec_core.tensors.retrieval.candidates import Candidates, load_candidates
from crossrec_core.tensors.retrieval.search import Search
from crossrec_core.tensors.scoring.scorer import LoadModels, LoadScorer, ModelFolder, load_source
from crossrec_core.tensors.training.finetune import build_model
from tests import scoring_world as world
from tests.tensors.scoring.test_neural_scorer import CONFIG, WIDTH
from tests.tensors.scoring.test_scorer import user_rows

ASKING = Asking(num_support=3, num_negatives=2, num_ranked=4, seed=7)
EVERYTHING = len(world.ITEMS[1])


def write_adapted(root: Path, *, method: str = "bayes", fingerprint: str = world.FINGERPRINT) -> ModelFolder:
    """A pretrained model and a head that has learnt something, and the model that asks them about films."""
    model = build_model(CONFIG, seed=5, text_vectors_IK=None)
    about = About("neural", c.PRETRAINED, c.ALL_DOMAINS, 0, world.FINGERPRINT, {})
    save_checkpoint(str(root / c.PRETRAINED / c.ALL_DOMAINS), model, about)
    config = HeadConfig(method, count_features(WIDTH), CONFIG.num_domains, 6, 5, inner_steps=2, inner_lr=0.5)
    head, generator = build_head(config, seed=1), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in head.parameters():
            value.add_(0.5 * torch.randn(value.shape, generator=generator))
    described = AboutHead(config, fingerprint, 1, 0.1, {}, {"films": True}, {})
    save_head(str(root / c.META / c.ALL_DOMAINS), head, described)
    folder = root / c.ADAPTED / "films"
    folder.mkdir(parents=True)
    settings = {**asdict(ASKING), "valid_ndcg": 0.1}
    write_json(folder / "model.json", asdict(About("head", c.ADAPTED, "films", 1, world.FINGERPRINT, settings)))
    return ModelFolder(0, str(folder))


def load_adapted_model(root: Path, **changes: str) -> LoadModels:
    return LoadModels(world.write_world(root).candidates_folder, (write_adapted(root, **changes),), 1, 1)


def score(load: LoadModels, users: pd.DataFrame) -> pd.DataFrame:
    return LoadScorer(load, Search(n=EVERYTHING, block_items=5))()(users)


def expected_scores(root: Path, user: str) -> tuple[dict[int, float], dict[int, float]]:
    """Item -> score of the in-context model, and of the head's model, of everything a user has not seen; by hand."""
    events, seen, _ = world.USERS[user]
    items, domains = ([world.padded([event[part] for event in events])] for part in (0, 1))
    ones = [[int(item > 0) for item in items[0]]]
    columns = dict(zip(SEQUENCE_COLUMNS, map(torch.tensor, (items, domains, ones, ones, ones)), strict=True))
    model = build_model(CONFIG, seed=5, text_vectors_IK=None).eval().requires_grad_(False)
    head, _ = load_head(str(root / c.META / c.ALL_DOMAINS))
    nums_V, share_V = torch.tensor(world.ITEMS[1]), torch.tensor(list(world.POPULARITY[1].values()))
    logits_V = (model.last_query(*columns.values(), target_domain=1) @ model.item_vectors(nums_V).T)[0]
    before = {item: logit for item, logit in zip(world.ITEMS[1], logits_V.tolist(), strict=True) if item not in seen}
    shortlist = sorted(before, key=lambda item: -before[item])[: ASKING.num_ranked]
    negatives = draw_task_negatives(
        nums_V, share_V, num_rows=1, num_events=3, num_negatives=2, generator=torch.Generator().manual_seed(7)
    )
    cut = cut_at_end(columns, 1, num_support=3)
    support = support_pairs(columns, cut, negatives, nums_V)
    asked = Pairs(
        torch.tensor([shortlist]), *[torch.zeros(1, len(shortlist))] * 2, cut.known_R.expand(len(shortlist))[None]
    )
    tasks = to_tasks(model, columns, support, asked, 1, Candidates({1: nums_V}, {1: share_V}, {}, {}, ""))
    with torch.no_grad():
        said = F.logsigmoid(head(tasks))[0].double()
    weight = torch.tensor([before[item] for item in shortlist]).double().logsumexp(0)
    changed = (said - said.logsumexp(0) + weight).tolist()
    return before, {**before, **dict(zip(shortlist, changed, strict=True))}


@pytest.mark.parametrize("method", ["bayes", "maml", "prototypes"])
def test_the_head_ranks_the_shortlist_and_leaves_the_rest(tmp_path: Path, method: str) -> None:
    scored = score(load_adapted_model(tmp_path, method=method), user_rows())
    for user in ("films only", "both", "books only"):
        before, after = expected_scores(tmp_path, user)
        rows = scored[scored[c.USER_ID] == user].sort_values(c.RANK)
        assert rows[c.ITEM_NUM].tolist() == sorted(after, key=lambda item: -after[item])
        assert rows[c.SCORE].tolist() == pytest.approx(sorted(after.values(), reverse=True), rel=1e-4, abs=1e-4)
        ranked = [sorted(scores, key=lambda item: -scores[item]) for scores in (before, after)]
        assert user == "books only" or ranked[0] != ranked[1], "the head must have had a say"


def test_the_shortlist_keeps_its_weight_among_all(tmp_path: Path) -> None:
    scored = score(load_adapted_model(tmp_path), user_rows())
    for user in ("films only", "both"):
        before, _ = expected_scores(tmp_path, user)
        total = torch.tensor(scored[scored[c.USER_ID] == user][c.SCORE].to_numpy()).logsumexp(0)
        assert float(total) == pytest.approx(float(torch.tensor(list(before.values())).logsumexp(0)), rel=1e-5)


def test_users_without_events_get_popularity(tmp_path: Path) -> None:
    scored = score(load_adapted_model(tmp_path), user_rows())
    nothing = scored[scored[c.USER_ID] == "nothing"].sort_values(c.RANK)
    assert nothing[c.ITEM_NUM].tolist()[:4] == [1, 11, 4, 8]
    assert set(nothing[c.PATH_CODE]) == {2}


def test_scores_are_the_same_bits_whoever_shares_the_batch(tmp_path: Path) -> None:
    load = load_adapted_model(tmp_path)
    users = pd.concat([user_rows()] * 30, ignore_index=True).assign(user_id=lambda frame: frame.index.astype(str))
    together = score(load, users)
    alone = pd.concat([score(load, users.iloc[[row]]) for row in (0, 1, 2, 5, 31, 178)])
    expected = together[together[c.USER_ID].isin(alone[c.USER_ID])]
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), expected.reset_index(drop=True), check_exact=True)


def test_as_a_source_it_says_the_same_of_pairs_as_of_blocks(tmp_path: Path) -> None:
    load = load_adapted_model(tmp_path)
    candidates = candidates_of(load_candidates(load.candidates_folder), 1)
    source = load_source(str(tmp_path / "crossrec" / "films"), c.ADAPTED, candidates, world.FINGERPRINT)
    assert source.is_logit
    scores = source.score(to_user_batch(user_rows(), [1, 2]))
    rows_P, positions_P = torch.cartesian_prod(torch.arange(len(world.USERS)), torch.arange(EVERYTHING)).T
    by_block: Tensor = scores.block(0, EVERYTHING)
    assert scores.at(rows_P, positions_P).tolist() == pytest.approx(
        by_block[rows_P, positions_P].tolist(), rel=1e-5, abs=1e-7
    )


def test_a_head_of_other_ids_is_refused_in_one_line(tmp_path: Path) -> None:
    load = load_adapted_model(tmp_path, fingerprint="ffff0000-20")
    with pytest.raises(CheckpointError, match=r"^[^\n]*meta/all: trained on item table ffff0000, [^\n]*meta_train.py"):
        LoadScorer(load, Search(n=2, block_items=5))()


def test_a_missing_pretrained_model_is_one_line(tmp_path: Path) -> None:
    load = load_adapted_model(tmp_path)
    (tmp_path / c.PRETRAINED / c.ALL_DOMAINS / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"^[^\n]*weights.safetensors: cannot be read"):
        LoadScorer(load, Search(n=2, block_items=5))()
