import gzip
import os
from datetime import date

import pytest

from crossrec_core import tables as t
from crossrec_core.config import read_config
from crossrec_core.errors import ConfigError, CrossRecError, InputError
from crossrec_core.frames.spark.storage import read_table
from crossrec_core.frames.spark.storage import write_table as write_whole_table
from jobs import clean
from jobs.judged_logs import judge, read_logs
from jobs.steps import Night
from tests.frames.plans import COLLECTED, check_plan, nodes, shown_frames

pytestmark = pytest.mark.spark

SHARED = """
[domains.films]
path = "{folder}/shared.tsv.gz"
format = "tsv"
event_time = "time"
domain_column = "kind"
domain_value = "F"
[domains.books]
like = "films"
domain_value = "B"
[domains.news]
path = "{folder}/news.csv"
event_time = "place"
time_unit = "order"
"""
SHARED_LOG = """user_id\titem_id\ttime\tkind
u1\tf1\t1700000000\tF
u1\tf1\t1700000000\tF
u2\tf1\tsoon\tF
u2\tf2\t1700000000\tF
u1\tb1\t1700000000\tB
u3\tb1\t1767225600\tB
u4\tb1\t1767225599\tB
u1\tz1\t1700000000\tZ
cut
"""
NEWS_LOG = "user_id,item_id,place\nu1,n1,1\nu2,n1,1\n,n1,2\n"


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "shared.tsv.gz").write_bytes(gzip.compress(SHARED_LOG.encode()))
    (tmp_path / "news.csv").write_text(NEWS_LOG)
    return tmp_path


def settings_of(folder, text=SHARED, **overrides):
    (folder / "conf.toml").write_text(text.format(folder=folder))
    return read_config(folder / "conf.toml", overrides={"split": {"protocol": "leave_one_out"}, **overrides})


def night_of(lake):
    return Night("r1", date(2025, 12, 31), lake)


def test_every_row_read_is_kept_or_rejected_and_counted(spark, logs, lake):
    settings = settings_of(logs)
    counts = clean.run(settings, night_of(lake), spark)
    assert counts == {"read": 12, "interactions": 6, "rejects": 6}
    interactions = read_table(spark, lake, t.INTERACTIONS, run_id="r1")
    seen = {(row.domain, row.user_id, row.item_id, row.weight, row.event_order) for row in interactions.collect()}
    assert seen == {
        ("films", "u1", "f1", 1.0, 1_700_000_000_000_000), ("films", "u2", "f2", 1.0, 1_700_000_000_000_000),
        ("books", "u1", "b1", 1.0, 1_700_000_000_000_000), ("books", "u4", "b1", 1.0, 1_767_225_599_000_000),
        ("news", "u1", "n1", 1.0, 1), ("news", "u2", "n1", 1.0, 1),
    }  # fmt: skip
    rejects = read_table(spark, lake, t.REJECTS, run_id="r1").collect()
    assert sorted((row.reason, row.domain or "", row.raw_text) for row in rejects) == [
        ("corrupt_row", "", "cut"),
        ("duplicate", "films", "u1\tf1\t1700000000\tF"),
        ("future_time", "books", "u3\tb1\t1767225600\tB"),
        ("missing_user", "news", ",n1,2"),
        ("unknown_domain", "", "u1\tz1\t1700000000\tZ"),
        ("unparsable_time", "films", "u2\tf1\tsoon\tF"),
    ]
    assert {row.source_file.rsplit("/", 1)[1] for row in rejects} == {"shared.tsv.gz", "news.csv"}
    quality = {(row.domain, row.check): row.value for row in read_table(spark, lake, t.DATA_QUALITY).collect()}
    assert quality == {
        ("films", "rows_read"): 4, ("films", "rows_kept"): 2, ("films", "rejected:duplicate"): 1,
        ("films", "rejected:unparsable_time"): 1, ("books", "rows_read"): 3, ("books", "rows_kept"): 2,
        ("books", "rejected:future_time"): 1, ("news", "rows_read"): 3, ("news", "rows_kept"): 2,
        ("news", "rejected:missing_user"): 1, ("unknown", "rows_read"): 2, ("unknown", "rejected:corrupt_row"): 1,
        ("unknown", "rejected:unknown_domain"): 1,
    }  # fmt: skip
    assert clean.run(settings, night_of(lake), spark) == counts
    assert read_table(spark, lake, t.INTERACTIONS).count() == counts["interactions"]


def test_plan_reads_each_log_once_and_scales(spark, logs, lake):
    settings = settings_of(logs)
    judged = judge(read_logs(settings, spark), settings, night_of(lake))
    check_plan(judged)
    assert judged._jdf.queryExecution().executedPlan().toString().count("FileScan text") == 2


def test_rows_are_counted_by_hash_and_never_sorted_for_it(spark, logs, lake):
    seen = []

    def look(frame, table):
        names = {node.getClass().getSimpleName() for node in nodes(frame._jdf.queryExecution().executedPlan())}
        seen.append(table)
        assert "SortAggregateExec" not in names, table  # Spark's way where a text or a struct is aggregated

    with shown_frames(look):
        clean.run(settings_of(logs), night_of(lake), spark)
    assert COLLECTED in seen


def test_lost_rows_are_an_error(spark, logs, lake, monkeypatch):
    def lose_one(frame, *where, **options):
        return write_whole_table(frame.limit(3), *where, **options)

    monkeypatch.setattr(clean, "write_table", lose_one)
    with pytest.raises(CrossRecError, match=r"read 12 rows, kept 3, rejected 3; expected kept \+ rejected = read"):
        clean.run(settings_of(logs), night_of(lake), spark)


def test_domain_without_two_users_is_an_error_that_names_the_reasons(spark, logs, lake):
    settings = settings_of(logs)
    (logs / "news.csv").write_text("user_id,item_id,place\nu1,n1,1\n,n1,2\n,n2,2\nu2,,3\n")
    with pytest.raises(InputError, match=r"domains\.news: 1 events of one user .u1. left of 4 .*missing_user 2, miss"):
        clean.run(settings, night_of(lake), spark)
    assert read_table(spark, lake, t.REJECTS).where("domain = 'news'").count() == 3
    assert read_table(spark, lake, t.INTERACTIONS).count() == 0
    (logs / "news.csv").write_text("user_id,item_id,place\n")
    with pytest.raises(InputError, match=r"domains\.news: no event left of 0 rows .*none rejected"):
        clean.run(settings, night_of(lake), spark)


def test_a_domain_that_lists_its_catalogue_needs_no_event_yet(spark, logs, lake):
    (logs / "news.csv").write_text("user_id,item_id,place\n")
    listed = {"score": {"candidates": "listed"}, "domains": {"news": {"catalogue": {"path": "news_items.csv"}}}}
    assert clean.run(settings_of(logs, **listed), night_of(lake), spark)["interactions"] == 4
    (logs / "news.csv").write_text("user_id,item_id,place\n,n1,2\n")
    with pytest.raises(InputError, match=r"domains\.news: no event left of 1 rows .*missing_user 1"):
        clean.run(settings_of(logs, **listed), night_of(lake), spark)


def test_broken_off_gzip_is_one_line(spark, logs, lake):
    whole = gzip.compress(b"user_id\titem_id\ttime\tkind\n" + os.urandom(200_000).hex().encode())
    (logs / "shared.tsv.gz").write_bytes(whole[:150_000])
    says = r"domains: cannot read .*shared\.tsv\.gz.*EOFException.*replace the file"
    with pytest.raises(InputError, match=says) as error:
        clean.run(settings_of(logs), night_of(lake), spark)
    assert "\n" not in str(error.value)


def test_two_domains_cannot_be_the_same_value_of_a_shared_log(spark, logs, lake):
    settings = settings_of(logs, SHARED.replace('"B"', '"F"'))
    with pytest.raises(ConfigError, match=r"domains\.books,films\.domain_value"):
        clean.run(settings, night_of(lake), spark)
