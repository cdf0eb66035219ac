"""A made-up world in which texts tell what users take, and some candidates nobody has touched yet are right for some.

Item numbers are odd. A user's history is one item that stands for the user: sources look up there whom they score.
"""

from dataclasses import replace

import pytest
import torch

from crossrec_core.tensors.blending.blend_fit import fit_pooled, pool_held_out
from crossrec_core.tensors.blending.blend_scorer import blend_scorer
from crossrec_core.tensors.blending.cold_blend import load_cold, save_cold
from crossrec_core.tensors.blending.cold_fit import (
    ColdPools,
    choose_shift,
    draw_cold,
    fit_cold,
    fit_correction,
    hide_cold,
)
from crossrec_core.tensors.blending.list_validation import mean_list_ndcg, to_users
from crossrec_core.tensors.blending.sources import Source
from crossrec_core.tensors.retrieval.block_scores import FILL_TOP, BlockScores, DomainCandidates
from crossrec_core.tensors.retrieval.topk import top_n
from crossrec_core.tensors.training.validation import HeldOut

NUM_ITEMS, NUM_COLD, NUM_USERS, WIDTH, FIRST_USER = 200, 20, 1_200, 6, 1_000
FIT = {"size": 20, "share": 0.1, "l2": 10.0, "min_users": 20}


def made_source(name, scores_UV, *, is_logit, cold_UV=None):
    """A source that knows every user's scores; ``cold_UV`` were the candidates cold."""

    def scorer(values_UV):
        def score(users):
            values_BV = values_UV[users.items_BL[:, 0] - FIRST_USER]
            return BlockScores(
                block=lambda lo, hi: values_BV[:, lo:hi].clone(), at=lambda rows, places: values_BV[rows, places],
                is_personal_B=torch.ones(len(values_BV), dtype=torch.bool), probability=None,
            )  # fmt: skip

        return score

    return Source(name, scorer(scores_UV), is_logit, score_cold=None if cold_UV is None else scorer(cold_UV))


def make_world(*, has_texts=True):
    """Candidates, sources, held-out users with touched truth, and everybody's taste for every candidate [U, V]."""
    generator = torch.Generator().manual_seed(7)
    texts_VD, tastes_UD = (torch.randn(n, WIDTH, generator=generator) for n in (NUM_ITEMS, NUM_USERS))
    taste_UV = 1.5 * tastes_UD @ texts_VD.T
    is_cold_V = torch.arange(NUM_ITEMS) >= NUM_ITEMS - NUM_COLD
    touched_UV = taste_UV.masked_fill(is_cold_V, -torch.inf)
    truth_U1 = torch.multinomial(touched_UV.softmax(dim=1), 1, generator=generator)
    fill_V = FILL_TOP - torch.arange(NUM_ITEMS).float()
    # What was counted is sharper than what texts say; ids add to the model what they have learnt
    counted_UV = torch.where(is_cold_V, fill_V, (1.2 * taste_UV).softmax(dim=1))
    blurred_UV = 0.4 * taste_UV + 0.3 * torch.randn(taste_UV.shape, generator=generator)
    with_ids_UV = torch.where(is_cold_V, blurred_UV, blurred_UV + 0.6 * taste_UV + 2.0)
    sources = [
        made_source("counted", counted_UV, is_logit=False),
        made_source("neural", with_ids_UV, is_logit=True, cold_UV=blurred_UV if has_texts else None),
    ]
    shares_V = touched_UV.softmax(dim=1).mean(dim=0)
    items_V = 2 * torch.arange(NUM_ITEMS) + 1
    candidates = DomainCandidates(1, items_V, shares_V, fill_V, shares_V[None], shares_V, is_cold_V)
    names = ("item_nums", "domain_nums", "action_nums", "gap_buckets", "event_orders")
    columns = {name: torch.ones(NUM_USERS, 1, dtype=torch.int64) for name in names}
    columns["item_nums"] = FIRST_USER + torch.arange(NUM_USERS)[:, None]
    held_out = HeldOut(columns, items_V[truth_U1], torch.arange(1, NUM_USERS + 1), 1, exclude_seen=True)
    return candidates, sources, held_out, taste_UV


def fit_both(candidates, sources, held_out, **options):
    pooled = pool_held_out(hide_cold(sources, candidates), held_out, candidates, size=FIT["size"])
    blend = fit_pooled(pooled, torch.ones(NUM_USERS, dtype=torch.bool), l2=FIT["l2"], is_positive=True)
    return blend, fit_cold(sources, blend, held_out, candidates, **{**FIT, "cost": 0.01, **options}), pooled


def top_ten(score, held_out):
    nobody = torch.empty(0, dtype=torch.int64)
    block = score(to_users(held_out, 0, NUM_USERS)).block
    return top_n(block, num_candidates=NUM_ITEMS, n=10, seen_rows=nobody, seen_positions=nobody, block_items=NUM_ITEMS)[
        0
    ]


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def fitted(world):
    return fit_both(*world[:3])


def test_a_cold_candidate_is_listed_where_texts_say_that_it_is_right(world, fitted):
    candidates, sources, held_out, taste_UV = world
    blend, cold, _ = fitted
    right_U = taste_UV.argmax(dim=1)
    is_cold_U = candidates.is_cold_V[right_U]
    assert is_cold_U.sum() > 80
    listed = {}
    for name, used in (("with", cold), ("without", None)):
        top_UN = top_ten(blend_scorer(sources, blend, None, candidates, used), held_out)
        listed[name] = (top_UN == right_U[:, None]).any(dim=1)
    assert listed["without"][is_cold_U].sum() == 0
    assert listed["with"][is_cold_U].float().mean() > 0.3
    assert listed["with"][~is_cold_U].float().mean() > 0.95 * listed["without"][~is_cold_U].float().mean()


def test_hardly_anything_is_lost_overall_and_a_higher_cost_lists_more(world, fitted):
    """Users now take cold items too, as often as these would be right."""
    candidates, sources, held_out, taste_UV = world
    blend, cold, _ = fitted
    taken_U1 = torch.multinomial(taste_UV.softmax(dim=1), 1, generator=torch.Generator().manual_seed(8))
    taken = replace(held_out, truth_RT=candidates.items_V[taken_U1])
    dear = fit_cold(sources, blend, held_out, candidates, **FIT, cost=0.2)
    ndcg = {
        name: mean_list_ndcg(blend_scorer(sources, blend, None, candidates, used), taken, candidates)
        for name, used in (("without", None), ("with", cold), ("dear", dear))
    }
    assert ndcg["with"] > 0.98 * ndcg["without"]
    assert ndcg["dear"] < ndcg["with"]
    assert dear.shift > cold.shift


def test_pairs_are_scored_as_blocks_whoever_is_in_the_batch(world, fitted):
    candidates, sources, held_out, _ = world
    scorer = blend_scorer(sources, fitted[0], None, candidates, fitted[1])
    users = to_users(held_out, 0, 70)
    scores_BV = scorer(users).block(0, NUM_ITEMS)
    rows_P, places_P = torch.nonzero(torch.ones_like(scores_BV), as_tuple=True)
    assert torch.allclose(scorer(users).at(rows_P, places_P), scores_BV.flatten(), atol=1e-4)
    assert torch.equal(scores_BV[:, 150:190], scorer(users).block(150, 190))
    assert torch.equal(scores_BV[:1], scorer(to_users(held_out, 0, 1)).block(0, NUM_ITEMS))


def test_touched_candidates_keep_their_scores(world, fitted):
    candidates, sources, held_out, _ = world
    users, touched_V = to_users(held_out, 0, 9), ~candidates.is_cold_V
    plain, moved = (
        blend_scorer(sources, fitted[0], None, candidates, cold)(users).block(0, NUM_ITEMS)
        for cold in (None, fitted[1])
    )
    assert torch.equal(plain[:, touched_V], moved[:, touched_V])
    assert not torch.equal(plain, moved)


def test_a_candidate_of_which_no_text_says_anything_stays_where_it_was(world, fitted):
    candidates, sources, held_out, _ = world
    silent_V = torch.arange(NUM_ITEMS) == NUM_ITEMS - 1
    mute = [replace(sources[0]), _silenced(sources[1], silent_V, candidates.fill_V)]
    users = to_users(held_out, 0, 9)
    plain, moved = (
        blend_scorer(mute, fitted[0], None, candidates, cold)(users).block(0, NUM_ITEMS) for cold in (None, fitted[1])
    )
    assert torch.equal(plain[:, -1], moved[:, -1])
    assert not torch.equal(plain[:, -2], moved[:, -2])


def _silenced(source, silent_V, fill_V):
    def score(users):
        own = source.score(users)
        return replace(
            own, block=lambda lo, hi: torch.where(silent_V[lo:hi], fill_V[lo:hi], own.block(lo, hi)),
            at=lambda rows, places: torch.where(silent_V[places], fill_V[places], own.at(rows, places)),
        )  # fmt: skip

    return replace(source, score=score)


def test_without_texts_or_simulated_hits_nothing_is_done(world):
    candidates, sources, held_out, _ = world
    blend, cold, _ = fit_both(*make_world(has_texts=False)[:3])
    assert cold is None
    assert fit_cold(sources, blend, held_out, candidates, **{**FIT, "min_users": NUM_USERS}, cost=0.01) is None
    assert fit_cold(sources, blend, held_out, candidates, **{**FIT, "share": 0.0}, cost=0.01) is None


def test_draws_are_disjoint_and_of_touched_candidates(world):
    draws = draw_cold(world[0], share=0.1)
    assert len(draws) == 3
    together = torch.stack(draws).sum(dim=0)
    assert together.max() == 1
    assert not together[world[0].is_cold_V].any()
    for draw in draws:
        assert 0.04 < draw.float().mean() < 0.16
    assert len(draw_cold(world[0], share=0.5)) == 2


def test_the_largest_shift_is_taken_that_costs_no_more_than_allowed():
    """Ten users' hit is at rank 10, where a cold candidate takes it away; another user's hit is that candidate."""
    num_users, num_places = 11, 12
    base_RM = torch.arange(num_places, 0, -1).double().repeat(num_users, 1)
    is_cold_RM = torch.zeros(num_users, num_places, dtype=torch.bool)
    is_cold_RM[:, 11] = True
    base_RM[:, 11] = 0.1  # takes the tenth place, score 3, from a shift of 3
    is_truth_RM = torch.zeros_like(is_cold_RM)
    is_truth_RM[:10, 9] = True
    is_truth_RM[10, 11] = True
    pools = ColdPools(
        base_RM, torch.zeros(num_users, num_places, 1), is_cold_RM, torch.ones_like(is_cold_RM), is_truth_RM,
        torch.ones(num_users, 6, dtype=torch.float64),
    )  # fmt: skip
    nothing = replace(fit_correction(pools, l2=1.0), gate_JF=torch.zeros(2, 6, dtype=torch.float64))
    assert choose_shift(pools, nothing, cost=0.0) == 2.75
    assert choose_shift(pools, nothing, cost=0.95) == 6.0
    pools = replace(pools, is_truth_RM=pools.is_cold_RM)
    assert choose_shift(pools, nothing, cost=0.0) == 6.0, "what cold candidates bring counts"


def test_what_is_saved_is_what_is_loaded(fitted, tmp_path):
    assert load_cold(tmp_path) is None
    save_cold(tmp_path, fitted[1])
    loaded = load_cold(tmp_path)
    assert torch.equal(loaded.columns_T, fitted[1].columns_T)
    assert loaded.shift == fitted[1].shift
    for name, values in vars(fitted[1].correction).items():
        assert torch.equal(getattr(loaded.correction, name), values)
