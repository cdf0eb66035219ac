"""Every settings file of the project is valid and says what its data needs."""

from pathlib import Path

import pytest

from crossrec_core.config import read_config

CONF = Path(__file__).resolve().parents[1] / "conf"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_a_settings_file_is_valid(path: Path) -> None:
    if path.name != "default.toml":
        assert read_config(path).targets


def test_the_demos_platforms_share_films_but_neither_users_nor_cuts() -> None:
    settings = read_config(CONF / "demo.toml")
    assert settings.item_space("ml_1m") == settings.item_space("ml_100k")
    assert settings.domains["ml_1m"].user_space != settings.domains["ml_100k"].user_space
    assert settings.split.per_domain
    assert settings.targets == ["ml_100k"]


def test_papers_settings_keep_repeats_and_take_the_last_item_out() -> None:
    settings = read_config(CONF / "amazon_beauty_sports_toys.toml")
    assert not settings.clean.drop_duplicates
    assert settings.split.protocol == "leave_one_out"
    assert {domain.time_unit for domain in settings.domains.values()} == {"order"}
