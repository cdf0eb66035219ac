"""What a night's measures are made of, and when a finished seed counts as finished."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.quality_suites.nights import (
    Finished,
    Places,
    is_finished,
    part_settings,
    read_values,
    values_file,
    with_served,
)
from benchmarks.quality_suites.suite import Part, Suite
from crossrec_core.config import hash_config
from crossrec_core.errors import ConfigError
from tests.benchmarks.made_values import make_values

DOMAIN = {"domains": {"a": {"path": "{data}/a.csv"}}}


def make_suite(**options) -> Suite:
    return Suite(name="made", title="made up", protocol="none", settings=DOMAIN, metrics=["ndcg@10"], **options)


def finished(folder: Path, part: Part, values: pd.DataFrame, *, seed: int = 1) -> Finished:
    file = folder / f"{part.name}-{seed}.parquet"
    values.drop(columns=["table", "cut", "seed"]).to_parquet(file)
    return Finished(part, "", seed, file, {})


def test_each_user_is_served_by_the_model_that_the_guard_chose_for_their_segment():
    values = make_values(
        ("m", "a", "u", "warm", 0.1), ("k", "a", "u", "warm", 0.2), ("m", "a", "u", "known_items", 0.3),
        ("k", "a", "u", "known_items", 0.4), ("m", "a", "v", "cold_in_domain", 0.5),
        ("k", "a", "v", "cold_in_domain", 0.6), ("m", "b", "u", "warm", 0.7),
    )  # fmt: skip
    found = with_served(values, {"a": {"all": "m", "warm": "k"}, "b": {"all": "m"}})
    served = found[found["model"] == "served"]
    assert sorted(served["value"]) == [0.2, 0.4, 0.5, 0.7]
    assert len(found) == len(values) + 4
    assert len(with_served(values, {})) == len(values)


def test_a_part_gives_the_models_it_keeps_under_their_new_names(tmp_path):
    main, control = Part(name="main"), Part(name="control", keep={"m": "m_alone"})
    values = make_values(("m", "a", "u", "warm", 0.1), ("k", "a", "u", "warm", 0.2))
    more = make_values(("m", "a", "u", "warm", 0.1), metric="recall")
    found = read_values(
        [finished(tmp_path, main, pd.concat([values, more])), finished(tmp_path, control, values)], make_suite()
    )
    assert sorted(found["model"]) == ["k", "m", "m_alone"]
    assert set(found["metric"]) == {"ndcg"}


def test_parts_that_measure_one_model_twice_are_refused(tmp_path):
    values = make_values(("m", "a", "u", "warm", 0.1))
    both = [finished(tmp_path, Part(name=name), values) for name in ("main", "control")]
    with pytest.raises(ConfigError, match="rename models with keep"):
        read_values(both, make_suite())
    apart = [both[0], finished(tmp_path, Part(name="control", table="apart"), values)]
    assert len(read_values(apart, make_suite())) == 2


def test_a_seed_is_finished_only_with_the_same_settings(tmp_path):
    suite, places = make_suite(), Places(tmp_path / "raw", tmp_path)
    part = suite.parts[0]
    settings = part_settings(suite, part, "", 1, places, {})
    assert settings.domains["a"].path == f"{tmp_path}/raw/a.csv"
    assert not is_finished(suite, part, "", 1, places, settings)
    file = values_file(suite, part, "", 1, places)
    file.parent.mkdir(parents=True)
    about = {"settings_hash": hash_config(settings), "sampled": 0, "metrics": ["ndcg@10", "hr@10"]}
    file.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
    assert is_finished(suite, part, "", 1, places, settings)
    assert not is_finished(suite, part, "", 2, places, part_settings(suite, part, "", 2, places, {}))
    other = part_settings(suite, part, "", 1, places, {"model": {"width": 32}})
    assert not is_finished(suite, part, "", 1, places, other)
    assert not is_finished(make_suite(sampled_negatives=9), part, "", 1, places, settings)
    assert not is_finished(replace(suite, metrics=["mrr@10"]), part, "", 1, places, settings)
