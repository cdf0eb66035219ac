"""TOML files in, checked settings out. Unknown, missing and mistyped keys are errors, all listed at once."""

import hashlib
import json
import re
import tomllib
from dataclasses import Field, asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from crossrec_core import columns as c
from crossrec_core.errors import ConfigError
from crossrec_core.settings import EVERY_VALUE, Settings

DEFAULTS = Path(__file__).resolve().parents[1] / "conf" / "default.toml"
# How fast and in how much memory results are made
SHAPELESS = (
    "train.threads", "train.parallel_fits", "train.reader_threads", "score.batch_users", "score.block_items",
    "score.threads_per_worker",
)  # fmt: skip
# What is done about items that nobody has touched, where they may be listed
COLD = ("blend.cold_models", "blend.cold_share", "blend.cold_cost")
DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Node = dict[str, Any]


def read_config(path: str | Path, *, defaults: str | Path = DEFAULTS, overrides: Node | None = None) -> Settings:
    """Read a settings file over the defaults, with ``overrides`` (nested dicts) on top.

    ``include = ["found.toml"]`` at a file's head puts other files, named from its folder, below its own lines.

    Raises:
        ConfigError: one line per problem: unreadable file, unknown, missing or mistyped key, value out of range.
    """
    tree = _merge(_merge(_read_toml(Path(defaults)), _read_with_includes(Path(path))), overrides or {})
    return parse_config(tree, where=str(path))


def parse_config(tree: Node, *, where: str) -> Settings:
    """Check a settings tree; ``where`` names it in errors. A [domain] block, if present, is every domain's start."""
    problems: list[str] = []
    tree = _with_domain_defaults(tree, problems)
    settings = _parse(Settings, tree, "", problems)
    if settings is not None and not problems:
        problems.extend(_check_sense(settings))
    if problems:
        lines = "\n".join(f"{where}: {problem}" for problem in problems)
        raise ConfigError(lines)
    return settings


def to_tree(settings: Settings) -> Node:
    """The settings as plain dicts: what ``parse_config`` takes."""
    return asdict(settings)


def to_public_tree(settings: Settings) -> Node:
    """The settings without what may hold secrets: what the runs table keeps."""
    tree = to_tree(settings)
    tree["lake"]["storage_options"] = {}
    tree["spark"]["options"] = {}
    return tree


def hash_config(settings: Settings) -> str:
    """sha256 of ``shaping_tree``."""
    return hashlib.sha256(json.dumps(shaping_tree(settings), sort_keys=True).encode()).hexdigest()


def shaping_tree(settings: Settings) -> Node:
    """The settings that shape results; where the lake lies, how work is shared out and what is tuned do not."""
    has_cold = settings.score.candidates == "listed" and settings.blend.models
    left_out = SHAPELESS if has_cold else (*SHAPELESS, *COLD)
    tree = {key: value for key, value in to_tree(settings).items() if key not in ("lake", "spark", "tune")}
    return {
        key: {name: value for name, value in part.items() if f"{key}.{name}" not in left_out}
        if isinstance(part, dict) else part
        for key, part in tree.items()
    }  # fmt: skip


def _read_toml(path: Path) -> Node:
    if not path.is_file():
        raise ConfigError(f"{path}: no such settings file; expected a TOML file; see conf/default.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); mend that line") from error


def _read_with_includes(path: Path, above: tuple[Path, ...] = ()) -> Node:
    """A settings file over the files it includes, later ones over earlier ones."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: includes itself; take it out of include")
    tree: Node = _read_toml(path)
    merged: Node = {}
    names = tree.pop("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: include: seen {names!r}; expected a list of files")
    for name in names:
        merged = _merge(merged, _read_with_includes(path.parent / name, (*above, path.resolve())))
    return _merge(merged, tree)


def _merge(below: Node, above: Node) -> Node:
    """``above`` over ``below``, table by table; lists, scalars and ``events`` are replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_tables and key != "events" else value
    return merged


def _with_domain_defaults(tree: Node, problems: list[str]) -> Node:
    """Fill each [domains.NAME] from its ``like`` block and from [domain]."""
    tree = dict(tree)
    start = tree.pop("domain", {})
    domains = tree.get("domains", {})
    if not isinstance(domains, dict) or not all(isinstance(block, dict) for block in domains.values()):
        return tree
    filled: Node = {}
    for name, block in domains.items():
        like = block.get("like", "")
        if like and like not in domains:
            problems.append(f"domains.{name}.like: no domain {like!r}; name another [domains.*] block")
        filled[name] = _merge(_merge(start, domains.get(like, {})), block)
    tree["domains"] = filled
    return tree


def _parse(kind: Any, node: Any, at: str, problems: list[str]) -> Any:
    """Build the dataclass ``kind`` from a table, or return None after noting every problem below ``at``."""
    if not isinstance(node, dict):
        problems.append(f"{at}: expected a table, seen {node!r}")
        return None
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}
    for key in node.keys() - known.keys():
        problems.append(f"{_join(at, key)}: unknown setting; expected one of {', '.join(sorted(known))}")
    before = len(problems)
    values = {}
    for name, entry in known.items():
        where = _join(at, name)
        if name not in node:
            problems.append(f"{where}: missing; expected {_type_name(hints[name])}")
        else:
            values[name] = _parse_value(hints[name], node[name], where, entry, problems)
    return kind(**values) if len(problems) == before else None


def _parse_value(hint: Any, value: Any, at: str, entry: Field[Any], problems: list[str]) -> Any:
    if is_dataclass(hint):
        return _parse(hint, value, at, problems)
    if get_origin(hint) is dict and is_dataclass(get_args(hint)[1]) and isinstance(value, dict):
        return {key: _parse(get_args(hint)[1], block, _join(at, key), problems) for key, block in value.items()}
    if not _has_type(hint, value):
        problems.append(f"{at}: seen {value!r}; expected {_type_name(hint)}")
        return None
    _check_range(value, at, entry, problems)
    return _cast(hint, value)


def _check_range(value: Any, at: str, entry: Field[Any], problems: list[str]) -> None:
    choices, low, high = (entry.metadata.get(key) for key in ("choices", "low", "high"))
    for chosen in value if isinstance(value, list) else [value]:
        if choices and chosen not in choices:
            problems.append(f"{at}: seen {chosen!r}; expected one of {', '.join(choices)}")
    if low is not None and value < low:
        problems.append(f"{at}: seen {value}; expected at least {low:g}")
    if high is not None and value > high:
        problems.append(f"{at}: seen {value}; expected at most {high:g}")


def _has_type(hint: Any, value: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(_has_type(arg, value) for arg in args)
    if origin is list:
        return isinstance(value, list) and all(_has_type(args[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(args[1], item) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _cast(hint: Any, value: Any) -> Any:
    """Whole numbers written where a float is meant."""
    if hint is float:
        return float(value)
    if get_origin(hint) is list and get_args(hint)[0] is float:
        return [float(item) for item in value]
    if get_origin(hint) is dict and get_args(hint)[1] is float:
        return {key: float(item) for key, item in value.items()}
    return value


def _check_sense(settings: Settings) -> list[str]:
    """Problems that take several settings to see."""
    problems = []
    if not settings.domains:
        problems.append("domains: none; add a [domains.NAME] block per log")
    for name, domain in settings.domains.items():
        if not DOMAIN_NAME.fullmatch(name):
            problems.append(f"domains.{name}: a domain's name holds letters, digits, '.', '_' and '-' only")
        if name == c.ALL:
            problems.append(f"domains.{name}: {c.ALL!r} stands for all domains together in metrics; name it otherwise")
        if not domain.path:
            problems.append(f"domains.{name}.path: empty; expected a file, folder, glob or table")
        if domain.default_action not in domain.events and not domain.action:
            problems.append(f"domains.{name}.default_action: {domain.default_action!r} has no weight in events")
        if settings.split.protocol == "time" and domain.time_unit == "order":
            problems.append(f"domains.{name}.time_unit: 'order' has no days; set split.protocol = 'leave_one_out'")
        if domain.positive_value > EVERY_VALUE and not domain.value:
            problems.append(f"domains.{name}.positive_value: {domain.positive_value:g}, but {name} has no value column")
        if settings.split.leave_out == "user" and domain.time_unit == "order" and len(settings.domains) > 1:
            problems.append(
                f"domains.{name}.time_unit: 'order' has no place among others; set split.leave_out = 'domain'"
            )
    for role in ("targets", "sources"):
        for name in getattr(settings.roles, role):
            if name not in settings.domains:
                problems.append(f"roles.{role}: no domain {name!r}; expected some of {', '.join(settings.domains)}")
    for name in settings.blend.stacked_baselines:
        if name not in settings.baselines.models:
            listed = ", ".join(settings.baselines.models)
            problems.append(f"blend.stacked_baselines: {name!r} is not in baselines.models; expected some of {listed}")
    if settings.text.encoder == "parquet" and not any(d.catalogue.vectors for d in settings.domains.values()):
        problems.append("text.encoder: 'parquet', but no domain has catalogue.vectors; name a Parquet file there")
    if settings.model.width % settings.model.heads:
        problems.append(f"model.heads: {settings.model.heads} does not divide model.width = {settings.model.width}")
    if settings.model.negatives_power and not settings.model.log_q:
        problems.append(
            f"model.negatives_power: {settings.model.negatives_power:g} without model.log_q; set it to true, or "
            "negatives_power to 0"
        )
    if min(settings.meta.support_sizes, default=-1) < 0 or max(settings.meta.support_sizes) < 1:
        problems.append(f"meta.support_sizes: {settings.meta.support_sizes}; expected sizes from 0, one above it")
    if settings.evaluate.guard_n not in settings.evaluate.n:
        problems.append(f"evaluate.guard_n: {settings.evaluate.guard_n} is not in evaluate.n")
    if max(settings.evaluate.n, default=0) > settings.score.n:
        problems.append(f"evaluate.n: {max(settings.evaluate.n)} is longer than score.n = {settings.score.n}")
    return problems


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _type_name(hint: Any) -> str:
    if is_dataclass(hint):
        return "a table"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint in names:
        return names[hint]
    origin, args = get_origin(hint), get_args(hint)
    inside = names.get(args[-1], "tables") if args else ""
    return f"a list, each {inside}" if origin is list else f"a table of names, each {inside}"
