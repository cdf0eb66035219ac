import pytest
from pyspark.sql import functions as F

from crossrec_core.frames.prepared.sequences import to_histories, to_sequences, to_validation_sequences
from crossrec_core.frames.prepared.splits import to_known_events
from tests.frames.made_events import SECOND_US, make_events, rows_of

pytestmark = pytest.mark.spark


def sequences_of(spark, rows, *, order_only=(), max_len=4, num_files=1, earlier_parts=0, purposes=("validate",)):
    return to_sequences(
        make_events(spark, rows, num_files=num_files), purposes=list(purposes), order_only=order_only, max_len=max_len,
        session_gap_minutes=1.0, earlier_parts=earlier_parts,
    )  # fmt: skip


def only_row(frame):
    (row,) = frame.collect()
    return row


def test_timed_domains_mix_by_time_and_are_padded_at_the_end(spark):
    rows = [(1, "b", 7, 5, "train"), (1, "a", 9, 3, "train"), (1, "a", 8, 9, "train")]
    row = only_row(sequences_of(spark, rows))
    assert (row.clock, row.length) == ("time", 3)
    assert row.item_nums == [9, 7, 8, 0]
    assert row.domain_nums == [97, 98, 97, 0]
    assert row.action_nums == [1, 1, 1, 0]
    assert row.event_orders == [3 * SECOND_US, 5 * SECOND_US, 9 * SECOND_US, 0]


def test_a_gap_bucket_is_1_plus_floor_log2_of_1_plus_seconds(spark):
    expected = {0: 1, 1: 2, 2: 2, 3: 3, 6: 3, 7: 4, 2**29 - 1: 30, 2**30 - 1: 31, 2**31 - 1: 31}
    rows = [(gap_s, "a", item, second, "train") for gap_s in expected for item, second in ((1, 0), (2, gap_s))]
    found = {row.user_num: row.gap_buckets for row in sequences_of(spark, rows).collect()}
    assert found == {gap_s: [1, bucket, 0, 0] for gap_s, bucket in expected.items()}


def test_a_pause_longer_than_the_gap_starts_a_session(spark):
    rows = [(1, "a", k, second, "train") for k, second in enumerate((0, 60, 121), 1)]
    assert only_row(sequences_of(spark, rows)).session_starts == [1, 0, 1, 0]


def test_an_order_only_domain_is_a_clock_of_its_own_without_gaps(spark):
    rows = [(1, "a", 1, 1, "train"), (1, "b", 2, 1, "train"), (1, "b", 3, 99, "train")]
    found = {row.clock: row for row in sequences_of(spark, rows, order_only=["b"]).collect()}
    assert set(found) == {"time", "b"}
    assert found["b"].item_nums == [2, 3, 0, 0]
    assert found["b"].gap_buckets == [1, 1, 0, 0]
    assert found["b"].session_starts == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("earlier_parts", "expected"),
    [
        (0, {0: [7, 8, 9, 10]}),
        (1, {0: [7, 8, 9, 10], 1: [3, 4, 5, 6]}),
        (5, {0: [7, 8, 9, 10], 1: [3, 4, 5, 6], 2: [1, 2, 0, 0]}),
    ],
)
def test_earlier_parts_are_the_stretches_before_the_latest_events(spark, earlier_parts, expected):
    rows = [(1, "a", k, k * 100, "train") for k in range(1, 11)]
    found = {row.part: row for row in sequences_of(spark, rows, earlier_parts=earlier_parts).collect()}
    assert {part: row.item_nums for part, row in found.items()} == expected
    assert all(row.length == sum(num > 0 for num in row.item_nums) for row in found.values())
    assert all(row.gap_buckets[0] == (7 if row.item_nums[0] > 1 else 1) for row in found.values())


def test_a_user_whose_events_fill_one_part_has_no_other(spark):
    rows = [(1, "a", k, k * 100, "train") for k in range(1, 5)]
    assert only_row(sequences_of(spark, rows, earlier_parts=3)).part == 0


def test_long_sequences_keep_the_latest_events_and_histories_keep_all(spark):
    rows = [(1, "a", k, k * 100, "train") for k in range(1, 8)] + [(1, "a", 1, 900, "train")]
    row = only_row(sequences_of(spark, rows))
    assert row.item_nums == [5, 6, 7, 1]
    assert row.gap_buckets[0] == 7  # the first event kept knows the 100 seconds before it
    history = only_row(to_histories(to_known_events(make_events(spark, rows), ["validate"])))
    assert history.item_nums == [1, 2, 3, 4, 5, 6, 7]
    assert (history.num_events, history.last_event_order) == (8, 900 * SECOND_US)


def test_each_purpose_counts_and_looks_back_among_the_events_it_may_know(spark):
    # b is held out earlier than a, so that what a purpose knows is no prefix of the user's events
    rows = [
        (1, "a", 1, 0, "train"), (1, "b", 2, 95, "valid"), (1, "a", 3, 100, "train"), (1, "b", 4, 103, "test"),
        (1, "a", 5, 110, "valid"), (1, "a", 6, 200, "out_of_core"),
    ]  # fmt: skip
    found = {
        row.purpose: row for row in sequences_of(spark, rows, purposes=("validate", "backtest", "serve")).collect()
    }
    assert {purpose: (row.length, row.item_nums) for purpose, row in found.items()} == {
        "validate": (2, [1, 3, 0, 0]), "backtest": (4, [1, 2, 3, 5]), "serve": (4, [2, 3, 4, 5]),
    }  # fmt: skip
    assert {purpose: row.gap_buckets for purpose, row in found.items()} == {
        "validate": [1, 7, 0, 0], "backtest": [1, 7, 3, 4], "serve": [7, 3, 3, 4],
    }  # fmt: skip
    assert found["validate"].session_starts == [1, 1, 0, 0]
    assert found["serve"].session_starts == [1, 0, 0, 0]


def test_sequences_do_not_depend_on_input_partitions(spark):
    rows = [(user, "a", item, item // 3, "train") for user in range(5) for item in range(1, 12)]
    names = ("user_num", "item_nums", "gap_buckets")
    once, again = sequences_of(spark, rows), sequences_of(spark, rows[::-1], num_files=4)
    assert rows_of(once, *names) == rows_of(again, *names)


def validation(spark, truth_rows, sequences, *, max_users=10, order_only=()):
    names = ("domain", "user_num", "item_num", "event_order", "tie_break")
    truth = make_events(spark, truth_rows).select(F.lit("validate").alias("purpose"), *names)
    return to_validation_sequences(
        truth, sequences, domain_nums={"a": 1, "b": 2}, order_only=order_only, max_users=max_users, max_len=4
    )


def test_a_validation_user_has_the_sequence_and_the_first_ten_truth_items(spark):
    sequences = sequences_of(spark, [(1, "a", 9, 1, "train")])
    truth = [(1, "b", item, 100 - item, "valid") for item in range(1, 13)]
    row = only_row(validation(spark, truth, sequences))
    assert (row.domain, row.target_domain_num, row.length) == ("b", 2, 1)
    assert row.item_nums == [9, 0, 0, 0]
    assert row.truth_nums == [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]


def test_a_validation_user_without_the_targets_clock_gets_zeros(spark):
    sequences = sequences_of(spark, [(1, "a", 9, 1, "train")])
    row = only_row(validation(spark, [(1, "b", 5, 1, "valid")], sequences, order_only=["b"]))
    assert row.item_nums == [0, 0, 0, 0]
    assert row.truth_nums == [5] + [0] * 9


def test_validation_users_are_limited_per_domain(spark):
    sequences = sequences_of(spark, [(user, "a", 9, 1, "train") for user in range(20)])
    truth = [(user, domain, 5, 1, "valid") for user in range(20) for domain in "ab"]
    found = rows_of(validation(spark, truth, sequences, max_users=3), "domain", "user_num")
    assert [domain for domain, _ in found] == ["a"] * 3 + ["b"] * 3
