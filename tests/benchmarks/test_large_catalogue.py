"""The benchmark of a large catalogue on a small one."""

from dataclasses import replace

import pytest
import torch

from benchmarks import large_catalogue as large
from crossrec_core.errors import CrossRecError
from crossrec_core.tensors.retrieval.item_vectors import MappedVectors
from crossrec_core.tensors.retrieval.search import APPROXIMATE, COMPRESSED, EXACT


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "BLOCK_ROWS", 1000)
    large.write_vectors(tmp_path / "items.safetensors", items=4500, width=8)
    return large.Asked(tmp_path / "items.safetensors", users=20, seen=5, n=7, threads=1, topics=0, num_probes=16)


def test_the_file_holds_as_many_different_rows_as_were_asked_for(asked):
    rows_VD = MappedVectors(asked.file, large.NAME)(slice(0, 4500))
    assert rows_VD.shape == (4500, 8)
    assert len(torch.unique(rows_VD[:, 0])) > 4000


def test_shards_give_the_lists_of_the_whole_and_eight_bits_nearly_so(asked):
    whole, shards, compressed = (
        large.search_once(asked, kind, shard_bytes) for kind, shard_bytes in ((EXACT, 0), (EXACT, 1), (COMPRESSED, 1))
    )
    large.check({"whole": whole, "shards": shards, "shards, compressed": compressed}, limit_gib=100)
    assert large.recall(whole, shards) == 1.0
    assert large.recall(whole, compressed) >= 0.99
    assert compressed.peak_mib > 10


def test_the_index_finds_what_lies_around_topics(tmp_path):
    large.write_vectors(tmp_path / "items.safetensors", items=6000, width=8, topics=30)
    asked = large.Asked(tmp_path / "items.safetensors", users=20, seen=5, n=7, threads=1, topics=30, num_probes=64)
    exact, found = (large.search_once(asked, kind, 1) for kind in (EXACT, APPROXIMATE))
    assert large.recall(exact, found) >= 0.99
    assert found.prepare_s > exact.prepare_s


def test_another_list_and_a_peak_above_the_limit_are_one_line(asked):
    whole = large.search_once(asked, EXACT, 0)
    ways = {"whole": whole, "shards": whole, "shards, compressed": whole}
    with pytest.raises(CrossRecError, match=r"^shards: peak of [\d,]+ MiB; expected at most 0.001 GiB$"):
        large.check(ways, limit_gib=0.001)
    other = replace(whole, scores_BN=whole.scores_BN.flip(1), positions_BN=whole.positions_BN.flip(1))
    with pytest.raises(CrossRecError, match=r"^shards: row 0: \[[^\n]*\]; without \["):
        large.check({**ways, "shards": other}, limit_gib=100)
