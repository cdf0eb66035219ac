"""refresh: the lists of a full run by the same models, though only the changed users' were made."""

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from crossrec_core import columns as c
from crossrec_core import tables as t
from crossrec_core.cli.fresh import score_fresh
from crossrec_core.cli.lists import find_served, read_lists
from crossrec_core.config import read_config
from crossrec_core.demo.world import BOOKS, DAY_S, FILMS, FIRST_DAY, item_name
from crossrec_core.errors import ConfigError, LakeError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import connect, parts_of, query, read_rows
from crossrec_core.ledger import published_run, rollback
from crossrec_core.settings import Settings
from jobs import publish, refresh
from jobs.changes import compared_users
from jobs.publish import old_runs
from jobs.steps import run_step, start_night
from tests.frames.plans import checked_plans
from tests.jobs.conftest import SMALL, FinishedNight

WHOLE = "parity"
IN_TEST_WINDOW = FIRST_DAY + 125 * DAY_S
AS_OF = "2024-07-01"


@dataclass(frozen=True)
class Shop:
    """A copy of a published lake and its logs, to be changed."""

    folder: Path
    settings: Settings

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake.path)

    def edit(self, domain: str, *, add: Sequence[tuple[str, str, int]] = (), without: str = "") -> None:
        """Add rows to a domain's log, or take out all of a user's; the rows come in another order."""
        with (self.folder / f"{domain}.csv").open(newline="") as stream:
            header, *rows = list(csv.reader(stream))
        rows = [row for row in rows if row[0] != without] + [[str(cell) for cell in row] for row in add]
        with (self.folder / f"{domain}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *reversed(rows)])

    def add_file(self, name: str, rows: Sequence[tuple[str, str, int]], *, like: str) -> Path:
        """A file of its own with the header of a domain's log."""
        header = (self.folder / f"{like}.csv").read_text().splitlines()[0]
        file = self.folder / name
        file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows), ""]))
        return file

    def refresh(
        self, spark: SparkSession, run_id: str, *,
        everyone: bool = False, every_row: bool = False, as_of: str = AS_OF,
    ) -> None:  # fmt: skip
        base = refresh.find_base(self.settings, self.lake)
        night = start_night(self.settings, run_id=run_id, as_of=as_of)
        step = partial(refresh.run, base=base, everyone=everyone, every_row=every_row)
        with checked_plans() as written:
            run_step("refresh", step, self.settings, night, spark)
        assert {"user_fingerprints", "histories", "sequences"} <= set(written)
        run_step("publish", publish.run, self.settings, night, spark)

    def published(self) -> list[tuple[Any, ...]]:
        """Everything that readers see of the lists but the run and its date."""
        with connect(self.lake, published=published_run(self.lake)) as connection:
            sql = "SELECT * EXCLUDE (run_id, run_date) FROM latest_recommendations ORDER BY ALL"
            return query(connection, sql).rows

    def shown(self, run_id: str, table: str) -> list[tuple[Any, ...]]:
        with connect(self.lake, run_id=run_id) as connection:
            assert query(connection, f"SELECT DISTINCT run_id FROM {table}").rows == [(run_id,)]
            return query(
                connection, f"SELECT * EXCLUDE (run_id) FROM {table} WHERE purpose = 'serve' ORDER BY ALL"
            ).rows

    def remade(self, run_id: str) -> set[str]:
        return {row[c.USER_ID] for row in read_rows(self.lake, t.USER_FINGERPRINTS, where={c.RUN_ID: run_id})}

    def written(self, run_id: str) -> set[str]:
        return {row[c.USER_ID] for row in read_rows(self.lake, t.RECOMMENDATIONS, where={c.RUN_ID: run_id})}


@pytest.fixture
def shop(finished_night: FinishedNight, tmp_path: Path) -> Shop:
    folder = tmp_path / "world"
    shutil.copytree(finished_night.world.config.parent, folder)
    config = folder / "world.toml"
    config.write_text(config.read_text().replace(str(finished_night.world.config.parent), str(folder)))
    return Shop(folder, read_config(config, overrides=SMALL))


@pytest.mark.spark
@pytest.mark.slow
def test_refreshed_lists_are_those_of_everyone_made_anew(spark: SparkSession, shop: Shop) -> None:
    whole = shop.published()
    shop.edit(BOOKS, add=[("user3", item_name(BOOKS, 8), IN_TEST_WINDOW), ("ann", item_name(BOOKS, 2), IN_TEST_WINDOW)])
    shop.edit(FILMS, add=[("user55", item_name(FILMS, 4), IN_TEST_WINDOW), ("user9", "no such film", IN_TEST_WINDOW)])
    for domain in (BOOKS, FILMS):
        shop.edit(domain, without="user7")
    shop.refresh(spark, "few")
    changed = {"user3", "ann", "user55", "user9", "user7", c.NEW_USER_ID}
    assert shop.remade("few") == changed
    assert shop.written("few") == changed - {"user7"}
    assert parts_of(shop.lake, "few") == ["few", WHOLE]
    few = shop.published()
    tables = ("recommendations", "histories", "sequences")
    shown = {name: shop.shown("few", name) for name in tables}
    shop.refresh(spark, "all", everyone=True)
    assert len(shop.written("all")) == 60 + 1  # ann came, user7 left, and the list for new users
    assert shop.published() == few
    assert {name: shop.shown("all", name) for name in tables} == shown
    assert [row for row in few if row[2] == "user7"] == []
    assert {row[2] for row in few} >= {"ann", "user0"}
    assert [row for row in few if row[2] == "user0"] == [row for row in whole if row[2] == "user0"]
    assert [row for row in few if row[2] == "user3"] != [row for row in whole if row[2] == "user3"]


@pytest.mark.spark
@pytest.mark.slow
def test_refreshes_stand_on_one_another_and_a_user_may_leave_and_come_back(spark: SparkSession, shop: Shop) -> None:
    whole = shop.published()
    kept = {domain: (shop.folder / f"{domain}.csv").read_text() for domain in (BOOKS, FILMS)}
    for domain in (BOOKS, FILMS):
        shop.edit(domain, without="user7")
    shop.refresh(spark, "without")
    shop.edit(FILMS, add=[("user2", item_name(FILMS, 1), IN_TEST_WINDOW)])
    shop.refresh(spark, "second")
    assert shop.remade("second") == {"user2", c.NEW_USER_ID}
    assert {row[2] for row in shop.published()} == {row[2] for row in whole} - {"user7"}
    for domain, text in kept.items():
        (shop.folder / f"{domain}.csv").write_text(text)
    shop.refresh(spark, "back")
    assert shop.remade("back") == {"user2", "user7", c.NEW_USER_ID}
    assert parts_of(shop.lake, "back") == ["back", "second", "without", WHOLE]
    assert shop.published() == whole
    assert old_runs(shop.lake, keep=1) == []  # the published run shows rows of all the others
    served = find_served(shop.lake, FILMS)
    lists = read_lists(shop.lake, served, ["user2", "user7", "nobody"], n=3).to_dicts()
    assert [row["is_fallback"] for row in lists] == [False] * 6 + [True] * 3
    fresh = score_fresh(shop.lake, served, "user7", n=3)
    assert fresh is not None
    assert [row["item_id"] for row in fresh.to_dicts()] == [row["item_id"] for row in lists[3:6]]
    rollback(shop.lake, "second")
    assert "user7" not in {row[2] for row in shop.published()}


@pytest.mark.spark
@pytest.mark.slow
def test_where_files_only_came_no_other_row_is_compared(
    spark: SparkSession, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def note(events, store, parts, *, everyone):  # type: ignore[no-untyped-def]
        compared.append(store.night.run_id)
        return compared_users(events, store, parts, everyone=everyone)

    monkeypatch.setattr(refresh, "compared_users", note)
    many = {
        name: replace(each, path=str(shop.folder / f"{name}{{.csv, of today.csv}}"))
        for name, each in shop.settings.domains.items()
    }
    shop = replace(shop, settings=replace(shop.settings, domains=many))
    shop.refresh(spark, "moved")  # the copy's files are others than those that the whole night read
    tomorrow = 1_719_878_400  # 2024-07-02
    rows = [("user3", item_name(BOOKS, 8), IN_TEST_WINDOW), ("ann", item_name(BOOKS, 2), IN_TEST_WINDOW),
            ("", item_name(BOOKS, 2), IN_TEST_WINDOW), ("user5", item_name(BOOKS, 0), tomorrow)]  # fmt: skip
    came = shop.add_file("books of today.csv", rows, like=BOOKS)
    shop.refresh(spark, "came")
    shop.refresh(spark, "nothing")
    shop.refresh(spark, "tomorrow", as_of="2024-07-02")
    assert compared == ["moved"]
    remade = {name: shop.remade(name) - {c.NEW_USER_ID} for name in ("moved", "came", "nothing", "tomorrow")}
    assert remade == {"moved": set(), "came": {"user3", "ann", "user5"}, "nothing": set(), "tomorrow": {"user5"}}
    seen = shop.published()
    shop.refresh(spark, "compared", every_row=True, as_of="2024-07-02")
    assert shop.remade("compared") == {c.NEW_USER_ID}  # the fingerprints noted on the way are those of all rows
    shop.refresh(spark, "all", everyone=True, as_of="2024-07-02")
    assert shop.published() == seen
    shop.refresh(spark, "back", as_of=AS_OF)  # the event of tomorrow is one of the future again
    assert shop.remade("back") == {"user5", c.NEW_USER_ID}
    written = came.stat()
    came.write_text(came.read_text().replace("user3", "user4"))
    os.utime(came, ns=(written.st_atime_ns, written.st_mtime_ns))  # nothing but the rows tells
    shop.refresh(spark, "unseen")
    shop.refresh(spark, "told", every_row=True)
    assert shop.remade("unseen") == {c.NEW_USER_ID}
    assert shop.remade("told") == {"user3", "user4", c.NEW_USER_ID}
    came.unlink()
    shop.refresh(spark, "gone")
    assert shop.remade("gone") == {"user4", "ann", "user5", c.NEW_USER_ID}
    assert compared == ["moved", "compared", "all", "back", "told", "gone"]


@pytest.mark.spark
@pytest.mark.slow
def test_an_event_of_the_future_counts_from_its_day_on_though_the_log_stays(spark: SparkSession, shop: Shop) -> None:
    tomorrow = 1_719_878_400  # 2024-07-02
    shop.edit(BOOKS, add=[("user5", item_name(BOOKS, 0), tomorrow)])
    shop.refresh(spark, "today")
    shop.refresh(spark, "again")
    assert (shop.remade("today"), shop.remade("again")) == ({"user5", c.NEW_USER_ID}, {c.NEW_USER_ID})
    shop.refresh(spark, "tomorrow", as_of="2024-07-02")
    assert shop.remade("tomorrow") == {"user5", c.NEW_USER_ID}


@pytest.mark.spark
@pytest.mark.slow
def test_what_cannot_be_refreshed_says_so_in_one_line(shop: Shop) -> None:
    wider = replace(shop.settings, score=replace(shop.settings.score, n=5))
    with pytest.raises(ConfigError, match=r"^score\.n: not as in run parity; .*jobs/nightly\.py$"):
        refresh.find_base(wider, shop.lake)
    core = replace(shop.settings, normalise=replace(shop.settings.normalise, min_user_events=2))
    with pytest.raises(ConfigError, match="a core, which depends on everyone"):
        refresh.find_base(core, shop.lake)
    with pytest.raises(LakeError, match="nothing is published yet"):
        refresh.find_base(shop.settings, Lake(str(shop.folder / "empty")))
    moved = replace(shop.settings, domains={
        name: replace(domain, path="elsewhere.csv") for name, domain in shop.settings.domains.items()
    })  # fmt: skip
    assert refresh.find_base(moved, shop.lake).whole_night == WHOLE


def test_the_settings_that_differ_are_named(tmp_path: Path) -> None:
    config = tmp_path / "one.toml"
    config.write_text('[domains.books]\npath = "b.csv"\n')
    one, other = read_config(config), read_config(config, overrides={"score": {"n": 70}, "model": {"width": 8}})
    assert refresh.differences(one, other) == ["model.width", "score.n"]
    assert refresh.differences(one, replace(one, lake=replace(one.lake, path="elsewhere"))) == []
