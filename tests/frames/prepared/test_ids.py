from contextlib import nullcontext

import pytest

from crossrec_core.errors import LakeError
from crossrec_core.frames.prepared.ids import append_numbers, check_id_types, fingerprint, new_names, number_labels
from tests.frames.made_events import rows_of

pytestmark = pytest.mark.spark
NAMES, IDS = "item_space string, item_id string", "run_id string, item_space string, item_id string, item_num bigint"
KEYS = ["item_space", "item_id"]


def names(spark, *item_ids, num_files=1):
    return spark.createDataFrame([("s", name) for name in item_ids], NAMES).repartition(num_files)


def ids(spark, *rows):
    return spark.createDataFrame([(run, "s", name, num) for run, name, num in rows], IDS)


def numbers(spark, existing, seen, run_id="new"):
    new = new_names(seen, existing, keys=KEYS)
    rows = append_numbers(existing, new, keys=KEYS, number="item_num", run_id=run_id)
    return dict(rows_of(rows, "item_id", "item_num"))


def test_first_numbers_are_dense_from_1_and_ignore_repeats(spark):
    seen = names(spark, *[f"i{k}" for k in range(50)], "i3", "i4")
    assert sorted(numbers(spark, ids(spark), seen).values()) == list(range(1, 51))


def test_old_numbers_stay_and_new_ones_follow(spark):
    existing = ids(spark, ("old", "a", 1), ("old", "b", 2))
    added = numbers(spark, existing, names(spark, "b", "c", "d"))
    assert set(added) == {"c", "d"}
    assert sorted(added.values()) == [3, 4]


def test_numbers_do_not_depend_on_partitions(spark):
    every = [f"i{k}" for k in range(40)]
    assert numbers(spark, ids(spark), names(spark, *every)) == numbers(
        spark, ids(spark), names(spark, *every[::-1], num_files=4)
    )


def test_a_repeated_run_keeps_its_numbers_even_after_a_later_run(spark):
    existing = ids(spark, ("first", "a", 1), ("first", "b", 2), ("later", "c", 3))
    assert numbers(spark, existing, names(spark, "a", "b"), run_id="first") == {"a": 1, "b": 2}


def test_labels_count_from_1_in_every_kind_and_old_ones_stay():
    existing = {("domain", "z"): 1}
    assert number_labels(existing, [("domain", "a"), ("action", "buy"), ("domain", "z")]) == {
        ("domain", "z"): 1, ("domain", "a"): 2, ("action", "buy"): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [
        (["1", "2"], ["x", "y"], True),
        (["x", "y"], ["1", "2"], True),
        (["1", "2"], ["1.0", "2.0"], True),
        (["1", "2"], ["3", "4"], False),
        (["1", "2"], ["1", "x"], False),
        ([], ["x"], False),
    ],
)
def test_an_id_type_change_between_runs_is_refused(spark, old, new, is_refused):
    others, seen = names(spark, *old), names(spark, *new)
    unknown = new_names(seen, others, keys=KEYS)
    refusal = pytest.raises(LakeError, match=r"item_ids: ids of space 's' were .* mend the id column")
    with refusal if is_refused else nullcontext():
        check_id_types(others, seen, unknown, space="item_space", name="item_id", table="item_ids")


def test_the_fingerprint_ignores_order_and_sees_every_change(spark):
    first = fingerprint(ids(spark, ("r", "a", 1), ("r", "b", 2)))
    assert first == fingerprint(ids(spark, ("r", "b", 2), ("r", "a", 1)).repartition(3))
    assert first != fingerprint(ids(spark, ("r", "a", 2), ("r", "b", 1)))
    assert first != fingerprint(ids(spark, ("r", "a", 1), ("r", "b", 2), ("r", "c", 3)))
