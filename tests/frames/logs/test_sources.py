import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crossrec_core.errors import InputError
from crossrec_core.frames.logs.sources import EventColumns, read_log

pytestmark = pytest.mark.spark

PLAIN = EventColumns(
    user_id="user_id", item_id="item_id", event_time="time", time_unit="s", action="", default_action="interact",
    value="",
)  # fmt: skip
ROWS = [("u1", "i1", 1_700_000_000), ("u2", 'a "b", c', 1_700_000_060)]
CSV = 'user_id,item_id,time\nu1,i1,1700000000\nu2,"a ""b"", c",1700000060\n'
JSONL = "".join(
    json.dumps({"user_id": user_id, "item_id": item_id, "time": time}) + "\n" for user_id, item_id, time in ROWS
)


def read_one(spark, path, file_format="csv", columns=PLAIN):
    return read_log(
        spark, where="domains.shop", path=str(path), file_format=file_format, domains={"shop": columns},
        domain_values={"shop": ""},
    )  # fmt: skip


def with_columns(**changes):
    return EventColumns(**{**PLAIN.__dict__, **changes})


def ids_of(events):
    return sorted((row.user_id, row.item_id, row.event_order // 1_000_000) for row in events.collect())


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("name", "file_format", "content"),
    [
        ("log.csv", "csv", CSV),
        ("log.csv.gz", "csv", CSV),
        ("bom.csv", "csv", "\ufeff" + CSV),
        ("windows.csv", "csv", "\r\n" + CSV.replace("\n", "\r\n") + "\r\n"),
        ("log.tsv", "tsv", 'item_id\tuser_id\tmore\ttime\ni1\tu1\t\t1700000000\na "b", c\tu2\tx\t1700000060\n'),
        ("log.jsonl", "jsonl", JSONL),
        ("log.jsonl.gz", "jsonl", "\ufeff" + JSONL + "\n"),
    ],
)
def test_text_formats_give_the_same_events(spark, tmp_path, name, file_format, content):
    assert ids_of(read_one(spark, write(tmp_path / name, content), file_format)) == ROWS


def test_parquet_and_tables_give_the_same_events(spark, tmp_path):
    typed_rows = [(user_id, item_id, float(second)) for user_id, item_id, second in ROWS]
    frame = spark.createDataFrame(typed_rows, "user_id string, item_id string, time double")
    frame.write.option("compression", "gzip").parquet(str(tmp_path / "log"))
    frame.createOrReplaceTempView("shop_log")
    assert ids_of(read_one(spark, tmp_path / "log", "parquet")) == ROWS
    events = read_one(spark, "shop_log", "table")
    assert ids_of(events) == ROWS
    row = events.where("user_id = 'u1'").first()
    assert (row.source_file, row.raw_text) == ("shop_log", '{"user_id":"u1","item_id":"i1","time":1.7E9}')


def test_folders_and_globs_drop_each_files_header_and_hidden_files(spark, tmp_path):
    write(tmp_path / "log" / "a.csv", "user_id,item_id,time\nu1,i1,1\n")
    write(tmp_path / "log" / "deep" / "b.csv.gz", '"user_id",item_id,time\nu2,i2,2\nuser_id,item_id,time\n')
    write(tmp_path / "log" / "_SUCCESS", "")
    expected = [("u1", "i1", 1), ("u2", "i2", 2)]
    assert ids_of(read_one(spark, tmp_path / "log")) == expected
    assert ids_of(read_one(spark, tmp_path / "l?g")) == expected
    names = {row.source_file.rsplit("/", 1)[1] for row in read_one(spark, tmp_path / "log" / "*.csv").collect()}
    assert names == {"a.csv"}


def test_raw_text_is_kept_and_broken_rows_are_marked(spark, tmp_path):
    lines = ["u1,i1,1", "u1,i1", "u1,i1,1,9", '"u1,i1,1', "u2,,x"]
    events = read_one(spark, write(tmp_path / "log.csv", "\n".join(["user_id,item_id,time", *lines])))
    assert {row.raw_text: row.is_corrupt for row in events.collect()} == dict(
        zip(lines, [False, True, True, True, False], strict=True)
    )
    lines = ['{"user_id":"u1","item_id":[1],"time":1}', '{"user_id":"u1"', "[1]", "null", '{"item_id":"i"}']
    events = read_one(spark, write(tmp_path / "log.jsonl", "\n".join(lines)), "jsonl")
    assert {row.raw_text: row.is_corrupt for row in events.collect()} == dict(
        zip(lines, [False, True, True, True, False], strict=True)
    )


MOMENT = datetime(2023, 11, 14, 22, 13, 20, 500_000)


@pytest.mark.parametrize(
    ("time_unit", "text", "expected"),
    [
        ("s", "1700000000.5", MOMENT),
        ("s", "1.7000000005E9", MOMENT),
        ("ms", "1700000000500", MOMENT),
        ("us", "1700000000500000", MOMENT),
        ("iso", "2023-11-14T22:13:20.5Z", MOMENT),
        ("iso", "2023-11-15 00:13:20.500+02:00", MOMENT),
        ("iso", "2023-11-14", datetime(2023, 11, 14)),
        ("s", "soon", None),
        ("s", "", None),
        ("s", "9" * 30, None),
        ("iso", "22:13", None),
        ("iso", "2023-02-31", None),
    ],
)
def test_times_of_every_unit_are_utc_microseconds(spark, tmp_path, time_unit, text, expected):
    log = write(tmp_path / "log.csv", f"user_id,item_id,time\nu,i,{text}\n")
    row = read_one(spark, log, columns=with_columns(time_unit=time_unit)).first()
    micros = expected and int(expected.replace(tzinfo=UTC).timestamp() * 1_000_000)
    assert (row.event_time, row.event_order) == (expected, micros)


def test_whole_numbers_are_read_as_decimals_are(spark, tmp_path):
    expected = {
        "12": 12_000, " 12 ": 12_000, "+5": 5_000, "-3": -3_000, "007": 7_000, "1e3": 1_000_000, "12.": 12_000,
        ".5": 500, "1.9999": 1_999, "9223372036854775": 9_223_372_036_854_775_000, "9223372036854776": None,
        "0x10": None, "1_0": None, "12L": None, "12d": None, "1 2": None, "--1": None,
    }  # fmt: skip
    lines = [json.dumps({"user_id": text, "item_id": "i", "time": text}) for text in expected]
    events = read_one(
        spark, write(tmp_path / "log.jsonl", "\n".join(lines)), "jsonl", columns=with_columns(time_unit="ms")
    )
    assert {row.user_id: row.event_order for row in events.select("user_id", "event_order").collect()} == expected
    decimals = [text for text, order in expected.items() if order is not None and text != "1.9999"]
    assert [expected[text] for text in decimals] == [int(Decimal(text) * 1000) for text in decimals]


def test_positions_have_an_order_but_no_time(spark, tmp_path):
    log = write(tmp_path / "log.csv", "user_id,item_id,time\nu,i,7\n")
    row = read_one(spark, log, columns=with_columns(time_unit="order")).first()
    assert (row.event_time, row.event_order) == (None, 7)


def test_domains_of_a_shared_log_may_map_columns_differently(spark, tmp_path):
    log = write(
        tmp_path / "log.csv",
        "kind,user_id,item_id,time,what,stars\nF,u,f,1,,4.5\nB,u,b,2000,buy,x\nZ,u,z,3,buy,1\nB,u\n",
    )  # fmt: skip
    films = with_columns(value="stars", default_action="watch", action="what")
    books = with_columns(time_unit="ms")
    events = read_log(
        spark, where="domains.books,films", path=str(log), file_format="csv", domain_column="kind",
        domains={"films": films, "books": books}, domain_values={"films": "F", "books": "B"},
    ).collect()  # fmt: skip
    sound = [row for row in events if not row.is_corrupt]
    seen = {row.raw_text[0:3]: (row.domain, row.action, row.value, row.event_order) for row in sound}
    assert seen["F,u"] == ("films", "watch", 4.5, 1_000_000)
    assert seen["B,u"] == ("books", "interact", None, 2_000_000)
    assert seen["Z,u"][0] is None
    assert [row.domain for row in events if row.is_corrupt] == [None]


@pytest.mark.parametrize(
    ("name", "file_format", "content", "says"),
    [
        ("empty.csv", "csv", "", "is empty; expected a header"),
        ("empty.csv.gz", "csv", "", "is empty; expected a header"),
        ("empty.jsonl", "jsonl", "", "is empty; expected one JSON"),
        ("empty.parquet", "parquet", "", "expected Parquet"),
        ("text.parquet", "parquet", CSV, "expected Parquet"),
        ("broken.parquet", "parquet", b"PAR1 and no more", "cannot read .* as Parquet"),
        ("column.csv", "csv", "user,item_id,time\n", "no column user_id; seen user, item_id, time;"),
        ("column.jsonl", "jsonl", '{"user": 1, "item_id": 2, "time": 3}', "no column user_id; seen item_id, time, us"),
        ("text.jsonl", "jsonl", CSV, "starts with 'user_id,item_id,time'; expected a JSON object"),
        ("tabs.csv", "csv", CSV.replace(",", "\t"), "one column .* looks tab-separated"),
        ("commas.tsv", "tsv", CSV, "one column .* looks comma-separated"),
        ("zipped.csv", "csv", gzip.compress(CSV.encode()), "is gzip data"),
        ("latin.csv", "csv", "us\xe9r_id,item_id,time\n".encode("latin-1"), "not UTF-8"),
        ("long.csv", "csv", "x" * 70_000, "no line end"),
    ],
)
def test_unusable_file_is_one_line_that_says_where(spark, tmp_path, name, file_format, content, says):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=says) as error:
        read_one(spark, path, file_format)
    assert str(error.value).startswith("domains.shop: ")
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_file_that_only_claims_to_be_gzip_is_an_error(spark, tmp_path):
    (tmp_path / "log.csv.gz").write_text(CSV)
    with pytest.raises(InputError, match=r"cannot read .*not a gzip file"):
        read_one(spark, tmp_path / "log.csv.gz")


def test_files_with_other_columns_are_an_error(spark, tmp_path):
    write(tmp_path / "log" / "a.csv", CSV)
    write(tmp_path / "log" / "b.csv", "item_id,user_id,time\n")
    with pytest.raises(InputError, match=r"b\.csv has the columns item_id, user_id, time; expected those of .*a\.csv"):
        read_one(spark, tmp_path / "log")


@pytest.mark.parametrize("path", ["nowhere", "no*.csv"])
def test_path_without_files_is_an_error(spark, tmp_path, path):
    with pytest.raises(InputError, match=r"no file at .*check the path"):
        read_one(spark, tmp_path / path)


def test_unknown_storage_and_unknown_table_are_errors(spark):
    with pytest.raises(InputError, match=r"cannot list nosuch://x/y .*No FileSystem"):
        read_one(spark, "nosuch://x/y")
    with pytest.raises(InputError, match=r"Spark knows no table lost\.log"):
        read_one(spark, "lost.log", "table")
