"""The stand-in for MovieLens: two platforms that share titles and nothing else."""

import csv
from pathlib import Path

from crossrec_core.config import read_config
from crossrec_core.demo.platforms import ITEM_FILE, ITEM_HEADER, LOG_FILE, LOG_HEADER, RICH, THIN, write_two_platforms

ROOT = Path(__file__).resolve().parents[2]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def small_platforms(folder: Path) -> dict[str, Path]:
    return write_two_platforms(folder, rich_users=80, thin_users=20, num_items=60, rich_events=20, thin_events=15)


def test_platforms_share_titles_but_no_user_and_no_day(tmp_path: Path) -> None:
    folders = small_platforms(tmp_path)
    rich, thin = (rows_of(folders[domain] / LOG_FILE) for domain in (RICH, THIN))
    assert {row["item_id"] for row in rich} & {row["item_id"] for row in thin}
    assert not {row["user_id"] for row in rich} & {row["user_id"] for row in thin}
    assert max(int(row["timestamp"]) for row in thin) < min(int(row["timestamp"]) for row in rich)
    assert len(rich) > 3 * len(thin)


def test_every_rated_item_is_listed_once_with_year_and_genres(tmp_path: Path) -> None:
    for folder in small_platforms(tmp_path).values():
        items = rows_of(folder / ITEM_FILE)
        assert tuple(items[0]) == ITEM_HEADER
        assert len({row["item_id"] for row in items}) == len(items)
        assert {row["item_id"] for row in rows_of(folder / LOG_FILE)} <= {row["item_id"] for row in items}
        assert all(row["genres"] and 1900 < int(row["year"]) < 2000 for row in items)


def test_ratings_are_whole_stars_and_no_user_rates_a_film_twice(tmp_path: Path) -> None:
    for folder in small_platforms(tmp_path).values():
        ratings = rows_of(folder / LOG_FILE)
        assert tuple(ratings[0]) == LOG_HEADER
        assert {row["rating"] for row in ratings} <= set("12345")
        assert len({(row["user_id"], row["item_id"]) for row in ratings}) == len(ratings)


def test_the_demos_settings_name_the_files_and_columns_that_are_written(tmp_path: Path) -> None:
    settings = read_config(ROOT / "conf" / "demo.toml")
    small_platforms(tmp_path)
    for name in (RICH, THIN):
        domain = settings.domains[name]
        assert domain.path == f".cache/demo/{name}/{LOG_FILE}"
        assert domain.catalogue.path == f".cache/demo/{name}/{ITEM_FILE}"
        assert {domain.user_id, domain.item_id, domain.event_time, domain.value} <= set(LOG_HEADER)
        assert {domain.catalogue.item_id, *domain.catalogue.text, *domain.catalogue.numerics} <= set(ITEM_HEADER)
