"""A suite's TOML file in, a checked description out: what is run, what is measured, and what it is held against."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.peers.registry import check_peers
from crossrec_core.errors import ConfigError

SUITES = Path(__file__).resolve().parents[2] / "conf" / "suites"
ALL = "all"
# Means over pairs that are lower where they are better, and the sums of a user that they are made of
LOSSES = {"click_log_loss": "click_log_loss_sum", "click_brier": "click_brier_sum"}
LOWER_IS_BETTER = (*LOSSES, "click_ece")
BEST_CONSTANT = "best_constant"
OUR_MODELS = ("crossrec", "served", "transferred", "guarded_transfer", "adapted", "target_only", "single_domain_ids")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One way to run the suite's data; ``keep`` renames the models that count, empty keeps all under their names.

    A part with ``peers`` fits these outside models, and none of ours.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    keep: dict[str, str] = field(default_factory=dict)
    table: str = ""  # parts of one table are compared; a part with a table of its own is a second reading of the data
    peers: list[str] = field(default_factory=list)  # of benchmarks/peers


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A hypothesis: ``model`` is above the best of ``baselines`` in every one of ``domains`` and ``segments``.

    Which of several is best is read off the test side itself, to the baselines' favour. None means every model that is
    not ours. ``domains`` are names or pools, none for all. ``gain`` is the relative goal, 0 for none. ``metrics`` are
    some of the suite's, none for its first; of a loss, above means a lower one.
    """

    model: str
    baselines: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    segments: list[str] = field(default_factory=lambda: [ALL])
    gain: float = 0.0
    metrics: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Values by domain: from elsewhere (``source``), or goals for ``model`` with a ``stretch`` above them."""

    model: str
    metric: str  # as in ``Suite.metrics``
    values: dict[str, float]
    segment: str = ALL
    source: str = ""
    stretch: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite. Metrics are ``ndcg@10`` and the like, or ``click_auc``; comparisons look at the first by default."""

    name: str
    title: str
    protocol: str
    config: str = ""  # settings file of the product; empty for conf/default.toml
    settings: dict[str, Any] = field(default_factory=dict)  # over it, for every part
    data: list[str] = field(default_factory=list)  # raw files below --data
    converter: str = ""  # makes the product's input of them
    cuts: list[str] = field(default_factory=lambda: [""])  # values of split.cut, and of {cut} in texts
    seeds: list[int] = field(default_factory=lambda: [11, 12, 13])
    seed_per_cut: bool = False  # the first cut is run with the first seed, and so on: cuts that are draws at random
    sampled_negatives: int = 0  # 0 ranks the catalogue
    metrics: list[str] = field(default_factory=lambda: ["ndcg@10", "recall@10", "hr@10", "mrr@10"])
    segments: list[str] = field(default_factory=lambda: [ALL])
    ours: list[str] = field(default_factory=lambda: [*OUR_MODELS])  # every other model is a floor
    pools: dict[str, list[str]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=lambda: [Part(name="main")])
    comparisons: list[Comparison] = field(default_factory=list)
    published: list[Figure] = field(default_factory=list)
    goals: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def seeds_of(self, cut: str) -> list[int]:
        """The seeds that a cut is run with."""
        return [self.seeds[self.cuts.index(cut)]] if self.seed_per_cut else self.seeds

    @property
    def measures(self) -> list[tuple[str, int]]:
        """(metric, n) of every metric."""
        return [to_measure(name) for name in self.metrics]

    @property
    def stored(self) -> list[tuple[str, int]]:
        """(metric, n) of what is kept of every user."""
        sums = [LOSSES[metric] for metric, _ in self.measures if metric in LOSSES]
        own = [(metric, n) for metric, n in self.measures if not metric.startswith("click_")]
        return own + [(name, 0) for name in (*sums, *(("click_pairs", "click_positives") if sums else ()))]


def suite_file(name: str) -> Path:
    """The file of a suite: ``conf/suites/NAME.toml``, or ``name`` itself where that is the path of a TOML file."""
    return Path(name) if name.endswith(".toml") else SUITES / f"{name}.toml"


def read_suite(path: Path) -> Suite:
    """Read a suite; its name is the file's.

    Raises:
        ConfigError: no such suite, a key that a suite has not, one that it needs, or names that do not fit together.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SUITES.glob("*.toml")))
        raise ConfigError(f"--suite: no file {path}; expected a path, or one of {known}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); mend that line") from error
    where = str(path)
    lists = {"parts": Part, "comparisons": Comparison, "published": Figure, "goals": Figure}
    for key, kind in lists.items():
        if key in tree:
            tree[key] = [_make(kind, entry, f"{where}: {key}") for entry in tree[key]]
    suite = _make(Suite, {"name": path.stem, **tree}, where)
    _check(suite, where)
    return suite


def to_measure(name: str) -> tuple[str, int]:
    """``ndcg@10`` -> (ndcg, 10); a name without @ has n = 0."""
    metric, _, n = name.partition("@")
    return metric, int(n or 0)


def _make(kind: type, entry: dict[str, Any], where: str) -> Any:
    known = {each.name for each in fields(kind)}
    if entry.keys() - known:
        unknown = ", ".join(sorted(entry.keys() - known))
        raise ConfigError(f"{where}: unknown {unknown}; expected some of {', '.join(sorted(known))}")
    try:
        return kind(**entry)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}; see benchmarks/quality_suites/suite.py") from error


def _check(suite: Suite, where: str) -> None:
    names = [part.name for part in suite.parts]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"{where}: parts named {', '.join(names)}; expected at least one, each with its own name")
    for part in suite.parts:
        check_peers(part.peers, f"{where}: {part.name}")
        if part.peers and suite.sampled_negatives:
            raise ConfigError(f"{where}: {part.name}: peers rank the catalogue; expected no sampled_negatives")
    for comparison in suite.comparisons:
        if set(comparison.metrics) - set(suite.metrics):
            unknown = ", ".join(sorted(set(comparison.metrics) - set(suite.metrics)))
            raise ConfigError(f"{where}: comparisons: {unknown} is not in metrics; add it there")
    if not suite.seeds or not suite.cuts or not suite.metrics:
        raise ConfigError(f"{where}: seeds, cuts or metrics are empty; expected at least one of each")
    if suite.seed_per_cut and len(suite.seeds) != len(suite.cuts):
        seen = f"{len(suite.seeds)} seeds and {len(suite.cuts)} cuts"
        raise ConfigError(f"{where}: seed_per_cut: seen {seen}; expected as many of each")
