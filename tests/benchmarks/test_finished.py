"""When a seed counts as finished, what its files hold, and how the seeds of a suite are put together."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.quality_suites.finished import (
    Finished,
    Places,
    distinct,
    is_finished,
    one_origin,
    read_finished,
    read_values,
    values_file,
    write_finished,
)
from benchmarks.quality_suites.suite import Part, Suite
from crossrec_core.errors import ConfigError, InputError
from tests.benchmarks.made_values import make_values

SETTINGS = {"domains": {"a": {"path": "a.csv"}}, "model": {"width": 8}}
ABOUT = {"settings": SETTINGS, "sampled": 0, "metrics": ["ndcg@10", "hr@10"], "sha256": {"a.csv": "1"}}
VALUES = make_values(("m", "a", "u", "warm", 0.1), ("k", "a", "u", "warm", 0.2))


def make_suite(**options) -> Suite:
    return Suite(name="made", title="made up", protocol="none", metrics=["ndcg@10"], seeds=[1, 2], **options)


def finish(folder: Path, part: Part, values: pd.DataFrame = VALUES, *, seed: int = 1, **about) -> Finished:
    suite, places = make_suite(), Places(folder, folder, folder)
    file, own = values_file(suite, part, "", seed, places), values.drop(columns=["table", "cut", "seed"])
    write_finished(own, ABOUT | about, file, night=f"{part.name}-whole", shared_models=["k"])
    return read_finished(suite, part, "", seed, places)


def shared_files(each: Finished) -> list[str]:
    return sorted(path.name for path in each.values.parent.glob("*-shared-*.parquet"))


def test_a_seed_is_finished_only_with_the_same_settings_metrics_and_sampling(tmp_path):
    suite, part = make_suite(), Part(name="main")
    file = values_file(suite, part, "", 1, Places(tmp_path, tmp_path, tmp_path))
    assert file == tmp_path / "values/made/main-whole-1.parquet"
    assert not is_finished(file, suite, SETTINGS)
    each = finish(tmp_path, part)
    assert is_finished(file, suite, SETTINGS)
    assert is_finished(file, suite, SETTINGS | {"later": {"width": 2}})
    assert is_finished(file, suite, SETTINGS | {"model": {"width": 8, "later": True}})
    assert not is_finished(file, suite, SETTINGS | {"model": {"width": 9}})
    assert not is_finished(file, suite, SETTINGS | {"domains": {**SETTINGS["domains"], "b": {"path": "b.csv"}}})
    assert not is_finished(file, make_suite(sampled_negatives=9), SETTINGS)
    assert not is_finished(file, replace(suite, metrics=["mrr@10"]), SETTINGS)
    (file.parent / each.about["shared"]).unlink()
    assert not is_finished(file, suite, SETTINGS)


def test_a_seed_from_before_inputs_were_normalised_is_finished_only_without(tmp_path):
    suite, part = make_suite(), Part(name="main")
    file = finish(tmp_path, part).values
    for is_normalised in (False, True):
        today = {**SETTINGS, "model": {"width": 8, "normalise_inputs": is_normalised}}
        assert is_finished(file, suite, today) is not is_normalised
        finish(tmp_path, part, settings=today)
        assert is_finished(file, suite, today)
        finish(tmp_path, part)


def test_a_seed_whose_writing_was_cut_short_is_not_finished(tmp_path, monkeypatch):
    suite, part = make_suite(), Part(name="main")
    file = finish(tmp_path, part).values

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.quality_suites.values.write_values", stop)
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path, part)
    assert not is_finished(file, suite, SETTINGS)


def test_shared_models_are_kept_as_long_as_a_seed_names_them(tmp_path):
    part, moved = Part(name="main"), VALUES.assign(value=0.5)
    first, second = finish(tmp_path, part), finish(tmp_path, part, seed=2)
    assert first.about["shared"] == second.about["shared"]
    other = finish(tmp_path, Part(name="other"))
    second = finish(tmp_path, part, moved, seed=2)
    assert len(shared_files(first)) == 3
    first = finish(tmp_path, part, moved)
    assert shared_files(first) == sorted([first.about["shared"], other.about["shared"]])
    assert first.about["shared"] == second.about["shared"]
    assert set(read_values([first, second], make_suite())["value"]) == {0.5}


def test_a_part_gives_the_models_it_keeps_under_their_new_names(tmp_path):
    main, control = Part(name="main"), Part(name="control", keep={"m": "m_alone"})
    more = make_values(("m", "a", "u", "warm", 0.1), metric="recall")
    found = read_values([finish(tmp_path, main, pd.concat([VALUES, more])), finish(tmp_path, control)], make_suite())
    assert sorted(found["model"]) == ["k", "m", "m_alone"]
    assert set(found["metric"]) == {"ndcg"}
    assert found["user_id"].nunique() == 1


def test_known_items_are_read_where_the_suite_shows_them(tmp_path):
    each = finish(tmp_path, Part(name="main"), pd.concat([VALUES, VALUES.assign(segment="known_items")]))
    assert set(read_values([each], make_suite())["segment"]) == {"warm"}
    assert len(read_values([each], make_suite(segments=["all", "known_items_warm"]))) == 4


def test_parts_that_measure_one_model_twice_are_refused(tmp_path):
    both = [finish(tmp_path, Part(name=name)) for name in ("main", "control")]
    with pytest.raises(ConfigError, match="rename models with keep"):
        read_values(both, make_suite())
    apart = [both[0], finish(tmp_path, Part(name="control", table="apart"))]
    assert len(read_values(apart, make_suite())) == 4


def test_seeds_of_different_files_are_not_put_into_one_table(tmp_path):
    part = Part(name="main")
    seeds = [finish(tmp_path, part), finish(tmp_path, part, seed=2)]
    assert one_origin(seeds) == {"a.csv": "1"}
    changed = finish(tmp_path, part, seed=2, sha256={"a.csv": "2"})
    with pytest.raises(InputError, match=r"main-whole-2 and main-whole-1 were made from different files"):
        one_origin([seeds[0], changed])


def test_what_seeds_say_is_told_once(tmp_path):
    part = Part(name="main")
    seeds = [finish(tmp_path, part, revision="a1"), finish(tmp_path, part, seed=2, revision="b2+")]
    assert distinct([*seeds, *seeds], "revision") == ["a1", "b2+"]
    assert json.loads(seeds[0].values.with_suffix(".json").read_text(encoding="utf-8")) == seeds[0].about
