"""Tables of item vectors and attributes in, tensors by item number out."""

from datetime import date

import numpy as np
import torch

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.delta import write_rows
from jobs.ground import count_attributes, read_attributes, read_text_vectors
from jobs.likes import read_user_likes
from jobs.steps import Night


def test_attributes_lie_at_their_items_with_zeros_behind(lake):
    items = {7: ([3, 1], [0.5, 0.5]), 2: ([1], [1.0]), 4: ([2, 3, 1], [1.0, 0.5, 0.5])}
    write_rows(lake, t.ITEM_ATTRIBUTES, [
        {c.RUN_ID: "r1", c.ITEM_NUM: num, c.ATTRIBUTE_NUMS: nums, c.WEIGHTS: weights}
        for num, (nums, weights) in items.items()
    ], replace={c.RUN_ID: "r1"})  # fmt: skip
    write_rows(lake, t.ATTRIBUTE_IDS, [
        {c.RUN_ID: run_id, c.DOMAIN: "a", c.KIND: "category", c.LABEL_NAME: f"v{num}", c.ATTRIBUTE_NUM: num,
         c.NUM_ITEMS: 5}
        for run_id, num in (("r1", 1), ("r1", 2), ("r1", 3), ("r2", 1))
    ], append=True)  # fmt: skip
    attributes = read_attributes(lake, "r1", 8)
    assert count_attributes(lake, "r1") == 3
    assert attributes.nums_IA.shape == attributes.weights_IA.shape == (9, 3)
    for num in range(9):
        nums, weights = items.get(num, ([], []))
        padding = [0] * (3 - len(nums))
        assert attributes.nums_IA[num].tolist() == nums + padding
        assert attributes.weights_IA[num].tolist() == weights + padding


def test_vectors_of_the_wanted_encoder_lie_at_their_items(lake):
    rows = [("lsa", 2, [0.6, 0.8]), ("bert", 1, [1.0, 0.0])]
    write_rows(lake, t.ITEM_VECTORS, [
        {c.RUN_ID: "r1", c.ENCODER: encoder, c.ITEM_NUM: num, c.VECTOR: vector} for encoder, num, vector in rows
    ], replace={c.RUN_ID: "r1"})  # fmt: skip
    vectors_IK = read_text_vectors(lake, "r1", 3, encoder="lsa", dimensions=2)
    assert vectors_IK.dtype == torch.float16
    np.testing.assert_allclose(vectors_IK.float(), [[0, 0], [0, 0], [0.6, 0.8], [0, 0]], atol=1e-3)
    assert read_text_vectors(lake, "r1", 3, encoder="parquet", dimensions=2) is None


def test_validation_users_have_their_likes_in_their_order_and_none_where_nothing_is_known(lake):
    rows = [(c.VALIDATE, 5, 1, 2), (c.VALIDATE, 3, 4, 4), (c.VALIDATE, 8, 0, 1), (c.BACKTEST, 4, 9, 9)]
    write_rows(lake, t.USER_LIKES, [
        {c.RUN_ID: "r1", c.PURPOSE: purpose, c.DOMAIN: "films", c.USER_NUM: user, c.NUM_LIKES: likes,
         c.NUM_RATED: rated}
        for purpose, user, likes, rated in rows
    ], replace={c.RUN_ID: "r1"})  # fmt: skip
    night = Night("r1", date(2026, 1, 31), lake)
    found = read_user_likes(night, "films", torch.tensor([8, 4, 3]))
    assert found.tolist() == [[0, 1], [0, 0], [4, 4]]


def test_a_run_without_attributes_counts_none(lake):
    assert count_attributes(lake, "r1") == 0
