"""Settings files in, checked settings or every problem at once out."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from crossrec_core.config import DEFAULTS, hash_config, parse_config, read_config, to_tree
from crossrec_core.errors import ConfigError
from crossrec_core.settings import Settings

TWO_DOMAINS = """
[domains.books]
path = "books.csv"
events = { read = 2.0 }
default_action = "read"
[domains.films]
like = "books"
item_space = "films_of_all_shops"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_domain_starts_from_the_domain_it_is_like(tmp_path: Path) -> None:
    settings = read_config(write(tmp_path, TWO_DOMAINS))
    assert settings.domains["films"].path == "books.csv"
    assert settings.domains["films"].events == {"read": 2.0}
    assert settings.item_space("films") == "films_of_all_shops"
    assert settings.item_space("books") == "books"


def test_targets_and_sources_default_to_all_domains(tmp_path: Path) -> None:
    settings = read_config(write(tmp_path, TWO_DOMAINS))
    assert settings.targets == settings.sources == ["books", "films"]


@pytest.mark.parametrize(
    ("more", "reads_texts"),
    [
        ("", False),
        ("[domains.books.catalogue]\npath = 'items.csv'\ncategories = 'genre'", False),
        ("[domains.books.catalogue]\npath = 'items.csv'\ntitle = 'name'", True),
        ("[domains.books.catalogue]\npath = 'items.csv'\ntext = ['name']", True),
        ("[domains.books.catalogue]\ntext = ['name']", False),
        ("[domains.books.catalogue]\npath = 'items.csv'\ntitle = 'name'\n[text]\ndimensions = 0", False),
        ("[domains.books.catalogue]\nvectors = 'own.parquet'\n[text]\nencoder = 'parquet'", True),
    ],
)
def test_inputs_are_normalised_where_no_item_has_a_text(tmp_path: Path, more: str, reads_texts: bool) -> None:
    settings = read_config(write(tmp_path, TWO_DOMAINS.replace("[domains.films]", f"{more}\n[domains.films]")))
    assert settings.reads_texts is reads_texts
    assert settings.normalises_inputs is not reads_texts
    for choice in ("always", "never"):
        told = read_config(write(tmp_path, TWO_DOMAINS), overrides={"model": {"normalise_inputs": choice}})
        assert told.normalises_inputs is (choice == "always")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = TWO_DOMAINS + '[clean]\nwrong = 1\nmax_events_per_day = "many"\n[score]\nn = 0\n[model]\nencoder = "x"\n'
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert [line.split(": ")[1] for line in lines] == [
        "clean.wrong", "clean.max_events_per_day", "model.encoder", "score.n",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "domains: none"),
        ("[domains.'a b']\npath = 'x'", "domains.a b: a domain's name holds letters"),
        ("[domains.a]\n", "domains.a.path: empty"),
        ("[domains.a]\npath = 'x'\nlike = 'b'", "domains.a.like: no domain 'b'"),
        ("[domains.a]\npath = 'x'\ntime_unit = 'order'", "'order' has no days"),
        (
            "[domains.a]\npath = 'x'\ntime_unit = 'order'\n[domains.b]\nlike = 'a'\n"
            "[split]\nprotocol = 'leave_one_out'\nleave_out = 'user'",
            "domains.a.time_unit: 'order' has no place among others",
        ),
        ("[domains.a]\npath = 'x'\n[roles]\ntargets = ['b']", "roles.targets: no domain 'b'"),
        ("[domains.a]\npath = 'x'\n[model]\nheads = 3", "model.heads: 3 does not divide"),
        ("[domains.a]\npath = 'x'\n[model]\nlog_q = false", "model.negatives_power: 0.5 without model.log_q"),
        ("[domains.a]\npath = 'x'\n[evaluate]\nn = [5]", "evaluate.guard_n: 10 is not in evaluate.n"),
        ("[domains.a]\npath = 'x'\n[score]\nn = 10", "evaluate.n: 50 is longer than score.n = 10"),
        (
            "[domains.a]\npath = 'x'\n[train]\ntransfer = ['joint', 'magic']",
            "transfer: seen 'magic'; expected one of zero",
        ),
        ("[domains.all]\npath = 'x'", "domains.all: 'all' stands for all domains together"),
        ("[domains.a]\npath = 'x'\npositive_value = 4", "domains.a.positive_value: 4, but a has no value column"),
        (
            "[domains.a]\npath = 'x'\n[blend]\nstacked_baselines = ['transferred']",
            "blend.stacked_baselines: 'transferred' is not in baselines.models",
        ),
        ("[domains.a]\npath = 3", "domains.a.path: seen 3; expected text"),
        ("[domains.a]\npath = 'x'\nexclude_seen = 1", "expected true or false"),
        ("domains = 3", "domains: seen 3; expected a table"),
        ("[domains", "not valid TOML"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    assert problem in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such settings file"):
        read_config(tmp_path / "none.toml")


def test_overrides_lie_on_top(tmp_path: Path) -> None:
    settings = read_config(write(tmp_path, TWO_DOMAINS), overrides={"score": {"n": 60}})
    assert settings.score.n == 60


def test_the_hash_follows_results_not_places(tmp_path: Path) -> None:
    path = write(tmp_path, TWO_DOMAINS)
    here = hash_config(read_config(path))
    assert hash_config(read_config(path, overrides={"lake": {"path": "elsewhere"}})) == here
    shared_out = {"train": {"threads": 7, "parallel_fits": 3, "reader_threads": 9}, "score": {"batch_users": 64}}
    assert hash_config(read_config(path, overrides=shared_out)) == here
    assert hash_config(read_config(path, overrides={"score": {"n": 60}})) != here
    of_new_items = {"blend": {"cold_cost": 0.5, "cold_share": 0.2, "cold_models": []}}
    assert hash_config(read_config(path, overrides=of_new_items)) == here, "none are listed"
    listed = {"score": {"candidates": "listed"}}
    assert hash_config(read_config(path, overrides={**of_new_items, **listed})) != hash_config(
        read_config(path, overrides=listed)
    )


def test_settings_survive_being_stored(tmp_path: Path) -> None:
    settings = read_config(write(tmp_path, TWO_DOMAINS))
    assert parse_config(to_tree(settings), where="stored") == settings


def test_every_setting_is_described_and_has_a_default() -> None:
    def check(kind: type, at: str) -> None:
        hints = get_type_hints(kind)
        for entry in fields(kind):  # type: ignore[arg-type]
            assert entry.metadata["doc"].endswith("."), f"{at}{entry.name}"
            if is_dataclass(hints[entry.name]):
                check(hints[entry.name], f"{at}{entry.name}.")

    check(Settings, "")
    assert DEFAULTS.is_file()


def test_included_files_lie_below_the_files_own_lines(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "best.toml").write_text("model.width = 128\nmodel.layers = 3\n")
    (tmp_path / "later.toml").write_text('include = ["found/best.toml"]\nmodel.dropout = 0.4\n')
    text = 'include = ["later.toml"]\n' + TWO_DOMAINS + "[model]\nlayers = 2\n"
    model = read_config(write(tmp_path, text)).model
    assert (model.width, model.layers, model.dropout) == (128, 2, 0.4)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('include = "a.toml"', "a list of files"),
        ('include = ["x.toml"]', "itself"),
        ('include = ["no.toml"]', "no.toml"),
    ],
)
def test_an_include_that_cannot_be_is_refused(tmp_path: Path, line: str, seen: str) -> None:
    with pytest.raises(ConfigError, match=seen):
        read_config(write(tmp_path, f"{line}\n{TWO_DOMAINS}"))


def test_what_is_tuned_changes_no_result_of_a_night(tmp_path: Path) -> None:
    path = write(tmp_path, TWO_DOMAINS)
    other = read_config(path, overrides={"tune": {"trials": 3}})
    assert hash_config(other) == hash_config(read_config(path))
    assert hash_config(read_config(path, overrides={"compress": {"mode": "int8"}})) != hash_config(other)
