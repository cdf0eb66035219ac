"""What a night's measures and settings are made of."""

from dataclasses import replace

from benchmarks.quality_suites.finished import Places, agree
from benchmarks.quality_suites.nights import ANYWHERE, part_settings, plain_settings
from benchmarks.quality_suites.suite import Suite

DOMAIN = {"domains": {"a": {"path": "{data}/a.csv"}, "b": {"path": "{work}/b.tsv"}}}
OTHER_FILE = {"domains": {"a": {"path": "{data}/other.csv"}, "b": {"path": "{work}/b.tsv"}}}


def make_suite(**options) -> Suite:
    return Suite(name="made", title="made up", protocol="none", settings=DOMAIN, metrics=["ndcg@10"], **options)


def test_plain_settings_tell_settings_apart_and_folders_not(tmp_path):
    suite = make_suite()
    part = suite.parts[0]
    settings = part_settings(suite, part, "", 1, Places(tmp_path / "raw", tmp_path, tmp_path), {})
    assert settings.domains["a"].path == f"{tmp_path}/raw/a.csv"
    assert settings.domains["b"].path == f"{tmp_path}/made/b.tsv"
    known = plain_settings(suite, part, "", 1, {})
    assert known["domains"]["a"]["path"] == "data/a.csv"
    others = [
        plain_settings(suite, part, "", 2, {}), plain_settings(suite, part, "2024-01-01", 1, {}),
        plain_settings(suite, part, "", 1, {"model": {"width": 32}}),
        plain_settings(replace(suite, settings=OTHER_FILE), part, "", 1, {}),
    ]  # fmt: skip
    assert agree(known, plain_settings(suite, part, "", 1, {}))
    assert known["model"]["normalise_inputs"] is True  # what auto comes to without texts
    assert not any(agree(known, other) for other in others)


def test_a_product_settings_file_that_names_the_raw_files_hashes_the_same_everywhere(tmp_path):
    (tmp_path / "a.toml").write_text('[domains.a]\npath = "../shared/data/a/a.csv"\n', encoding="utf-8")
    suite = replace(make_suite(), config=str(tmp_path / "a.toml"), settings={})
    part = suite.parts[0]
    settings = part_settings(suite, part, "", 1, Places(tmp_path / "raw", tmp_path, tmp_path), {})
    assert settings.domains["a"].path == f"{tmp_path}/raw/a/a.csv"
    assert part_settings(suite, part, "", 1, ANYWHERE, {}).domains["a"].path == "data/a/a.csv"
