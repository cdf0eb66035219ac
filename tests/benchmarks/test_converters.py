"""Raw files of published benchmarks, made up and tiny, to logs of the product."""

import csv
import gzip
from pathlib import Path

from benchmarks.quality_suites.converters import (
    CONVERTERS,
    NUM_ABXI_FOOD,
    NUM_SEQ_FOOD,
    TEST_DAY,
    TRAIN_DAY,
    VALID_DAY,
    convert_movielens,
)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def convert(name: str, data: Path) -> Path:
    work = data / "work"
    work.mkdir()
    CONVERTERS[name](data, work)
    return work


def test_abxi_events_keep_their_domain_and_their_order_within_a_day(tmp_path):
    kitchen = NUM_ABXI_FOOD + 1
    write(tmp_path / "abxi_food_kitchen/afk_preprocessed.txt.gz", f"7 {NUM_ABXI_FOOD}|86400 {kitchen}|86400\n8 1|0\n")
    work = convert("abxi_food_kitchen", tmp_path)
    day = 86_400_000_000
    rows = [("7", "Food", str(NUM_ABXI_FOOD)), ("7", "Kitchen", str(kitchen)), ("8", "Food", "1")]
    for name, times in (("events", (day, day, 0)), ("events_file_order", (day, day + 1, 0))):
        found = [tuple(row.values()) for row in read(work / f"{name}.tsv")]
        assert found == [(*row, str(time)) for row, time in zip(rows, times, strict=True)]


def test_food_kitchen_sequences_hold_out_the_last_items_of_unseen_users(tmp_path):
    kitchen = NUM_SEQ_FOOD
    raw = tmp_path / "food_kitchen_seq"
    for name, text in (
        ("train_A", "1\t0,1\n"), ("train_B", f"1\t{kitchen}\n"), ("train_overlap", f"1\t0,{kitchen}\n"),
        ("valid", f"1\t1,{kitchen}\n"), ("test", f"1\t{kitchen},1,0\n"),
    ):  # fmt: skip
        write(raw / f"{name}.txt.gz", text)
    write(raw / "items.tsv.gz", f"item_index_0based\tdomain\tasin\ttitle\n0\tA\tB00\tTea\n{kitchen}\tB\tB01\tPan\n")
    work = convert("food_kitchen_seq", tmp_path)
    events = read(work / "events.tsv")
    days = {(row["user_id"], row["item_id"]): int(row["time"]) for row in events}
    assert days["valid_1", str(kitchen)] == VALID_DAY
    assert days["test_1", "0"] == TEST_DAY
    early = [row for row in events if int(row["time"]) < VALID_DAY]
    assert len(early) == len(events) - 2
    assert all(int(row["time"]) >= TRAIN_DAY for row in early)
    assert [row["item_id"] for row in early if row["user_id"] == "test_1"] == [str(kitchen), "1"]
    assert days["test_1", str(kitchen)] < days["test_1", "1"]
    assert {(row["item_id"], row["domain"]) for row in events} == {
        ("0", "Food"),
        ("1", "Food"),
        (str(kitchen), "Kitchen"),
    }
    assert [tuple(row.values()) for row in read(work / "items.tsv")] == [
        ("Food", "0", "Tea"),
        ("Kitchen", str(kitchen), "Pan"),
    ]


def test_disencdr_pairs_get_one_validation_item_by_hash_and_their_own_test_items(tmp_path):
    for first, second in (("sport", "phone"), ("electronic", "cloth")):
        for domain, other in ((first, second), (second, first)):
            folder = tmp_path / "disencdr" / f"{domain}_{other}"
            write(folder / "train.txt", "".join(f"0\t{item}\t1\n" for item in range(5)) + "1\t0\t1\n1\t2\t1\n1\t3\t1\n")
            write(folder / "test.txt", "0\t9\t1\n")
    work = convert("disencdr", tmp_path)
    events = read(work / "sport_phone.tsv")
    assert {row["domain"] for row in events} == {"sport", "phone"}
    held = [row for row in events if int(row["time"]) == VALID_DAY]
    assert [(row["user_id"], row["domain"]) for row in held] == [("u0", "sport"), ("u0", "phone")]
    assert {(row["user_id"], row["item_id"]) for row in events if int(row["time"]) == TEST_DAY} == {("u0", "9")}
    train = [row for row in events if row["domain"] == "sport" and int(row["time"]) < VALID_DAY]
    assert [int(row["time"]) for row in train] == [TRAIN_DAY] * (4 + 3), "the files hold no order"
    assert (work / "electronic_cloth.tsv").exists()


def test_rated_movielens_is_taken_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "ml_1m"
    write(folder / "ratings.tsv", "user_id\titem_id\trating\ttimestamp\n1\tb\t5\t100\n")
    write(folder / "items.tsv", "item_id\ttitle\tyear\tgenres\nb\tB\t1990\tDrama\n")
    monkeypatch.setattr("benchmarks.quality_suites.converters.fetch", lambda cache: {"ml_1m": folder})
    work = convert("movielens_rated", tmp_path)
    assert read(work / "ratings.tsv") == [{"user_id": "1", "item_id": "b", "rating": "5", "timestamp": "100"}]
    assert (work / "items.tsv").read_bytes() == (folder / "items.tsv").read_bytes()


def test_movielens_keeps_the_files_order_within_a_second(tmp_path, monkeypatch):
    folder = tmp_path / "ml_1m"
    write(folder / "ratings.tsv", "user_id\titem_id\trating\ttimestamp\n1\tb\t5\t100\n1\ta\t4\t100\n2\ta\t3\t50.0\n")
    write(folder / "items.tsv", "item_id\ttitle\tyear\tgenres\na\tA\t1990\tDrama\n")
    monkeypatch.setattr("benchmarks.quality_suites.converters.fetch", lambda cache: {"ml_1m": folder})
    convert_movielens(tmp_path, tmp_path)
    found = [tuple(row.values()) for row in read(tmp_path / "events.tsv")]
    assert found == [
        ("1", "ml_1m", "b", "100000000"), ("1", "ml_1m", "a", "100000001"), ("2", "ml_1m", "a", "50000000"),
    ]  # fmt: skip
    assert read(tmp_path / "items.tsv")[0]["title"] == "A"
