import math

import pytest
import torch

from crossrec_core.tensors.network.relative_bias import KINDS, NUM_TIME_BUCKETS, RelativeBias, time_buckets

SECOND_US = 1_000_000
NOW_S = 1_700_000_000


def test_a_time_bucket_is_the_floor_of_log2_of_1_plus_seconds_even_at_its_edges():
    gaps = [0, 1, 2, 3, 6, 7, 8, 1022, 1023, 2**24 - 2, 2**24 - 1, 2**30 - 1]
    orders = torch.tensor([[(NOW_S - gap) * SECOND_US for gap in gaps] + [NOW_S * SECOND_US]])
    expected = [int(math.log2(1 + gap) + 1e-12) for gap in gaps]
    assert expected[:8] == [0, 1, 1, 2, 2, 3, 3, 9]
    assert time_buckets(orders)[0, -1, :-1].tolist() == expected
    assert torch.equal(time_buckets(orders)[0], time_buckets(orders)[0].T)


def test_spans_beyond_a_lifetime_share_the_last_bucket():
    orders = torch.tensor([[0, NOW_S * SECOND_US, 10 * NOW_S * SECOND_US]])
    assert time_buckets(orders)[0, 2].tolist() == [NUM_TIME_BUCKETS - 1, NUM_TIME_BUCKETS - 1, 0]


def test_positions_of_order_only_logs_say_nothing_about_time():
    assert time_buckets(torch.tensor([[1, 2, 30, 4_000]])).unique().tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_is_the_sum_of_the_tables_its_kind_names(kind):
    module = RelativeBias(kind, heads=2, max_len=3)
    for values in module.parameters():
        torch.nn.init.normal_(values, generator=torch.Generator().manual_seed(len(values)))
    buckets = time_buckets(torch.tensor([[1, 5, 9, 400, 9_000]]) * SECOND_US)
    found = module(5, buckets)
    if kind == "none":
        assert found is None
        return
    for head in range(2):
        for query in range(5):
            for key in range(5):
                expected = 0.0
                if module.time_TH is not None:
                    expected += module.time_TH[buckets[0, query, key], head].item()
                if module.place_PH is not None:
                    expected += module.place_PH[3 + max(-3, min(3, query - key)), head].item()
                assert found[0, head, query, key].item() == pytest.approx(expected)


def test_a_fresh_bias_is_zero():
    module = RelativeBias("time_and_position", heads=2, max_len=3)
    assert float(module(2, time_buckets(torch.tensor([[1, 2]]))).abs().sum()) == 0.0
