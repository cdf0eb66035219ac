"""Every suite file says what its nights need, and mistakes in one are named."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.quality_suites.cells import in_segment
from benchmarks.quality_suites.nights import Places, part_settings
from benchmarks.quality_suites.suite import SUITES, read_suite, suite_file
from crossrec_core.config import hash_config
from crossrec_core.errors import ConfigError
from tests.benchmarks.made_values import make_values

NAMES = sorted(file.stem for file in SUITES.glob("*.toml"))
PLACES = Places(Path("raw"), Path("work"), Path("out"))


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_gives_settings_for_every_part_and_cut(name):
    suite = read_suite(suite_file(name))
    assert len(suite.seeds) >= 3
    for figure in suite.published:
        assert figure.metric in suite.metrics, "it would stand in no table"
    for segment in suite.segments:
        in_segment(make_values(("m", "a", "u", "warm", 1.0)), segment)
    for part in suite.parts:
        for cut in suite.cuts:
            settings = part_settings(suite, part, cut, 7, PLACES, {})
            assert settings.train.seed == 7
            assert settings.lake.path.startswith(f"work/{name}/")
            assert all(domain.path.startswith(("raw/", f"work/{name}/")) for domain in settings.domains.values())
            for figure in suite.goals:
                assert set(figure.values) <= {*settings.domains, *suite.pools}
                assert figure.metric in suite.metrics
            if not suite.sampled_negatives:
                assert {n for _, n in suite.measures} <= {0, settings.evaluate.guard_n}, "user_metrics holds no other n"


def test_the_single_domain_control_knows_no_text():
    suite = read_suite(suite_file("beauty_sports_toys"))
    settings = part_settings(suite, suite.parts[1], "", 7, PLACES, {})
    assert [domain.catalogue.path for domain in settings.domains.values()] == ["", "", ""]
    assert settings.train.pretrain.max_epochs == 0


def test_rolling_cuts_leave_no_day_out_and_test_none_twice():
    suite = read_suite(suite_file("amazon_timed"))
    cuts = [date.fromisoformat(cut) for cut in suite.cuts]
    assert len(cuts) >= 6
    assert all(later - cut == timedelta(days=90) for cut, later in pairwise(cuts))
    settings = part_settings(suite, suite.parts[0], suite.cuts[2], 7, PLACES, {})
    assert (settings.split.cut, settings.split.test_days, settings.split.valid_days) == (suite.cuts[2], 90.0, 90.0)


def test_overrides_and_seeds_change_the_hash_that_finished_seeds_are_known_by():
    suite = read_suite(suite_file("beauty_sports_toys"))
    first, other_seed, other = (
        hash_config(part_settings(suite, suite.parts[0], "", seed, PLACES, overrides))
        for seed, overrides in ((1, {}), (2, {}), (1, {"model": {"width": 32}}))
    )
    assert len({first, other_seed, other}) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = 'a'\nprotocol = 'b'\nspeed = 3", "unknown speed; expected some of"),
        ("title = 'a'", "protocol"),
        ("title = 'a'\nprotocol = 'b'\nseeds = []", "seeds, cuts or metrics are empty"),
        ("title = 'a'\nprotocol = 'b'\ncuts = ['x', 'y']\nseed_per_cut = true", "seen 3 seeds and 2 cuts"),
        ("title = 'a'\nprotocol = 'b'\n[[parts]]\nname = 'x'\n[[parts]]\nname = 'x'", "each with its own name"),
        ("title = 'a'\nprotocol = 'b'\n[[goals]]\nmodel = 'x'\nworth = 1", "goals: unknown worth"),
        ("title = ", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path, text, problem):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem):
        read_suite(suite_file(str(path)))


def test_an_unknown_suite_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="beauty_sports_toys"):
        read_suite(suite_file("none"))
