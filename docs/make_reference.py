"""The settings' dataclasses and the tables' declarations in, docs/settings.md and docs/tables.md out.

Run ``python docs/make_reference.py`` after changing either; a test fails while the committed files are behind.
"""

import sys
import tomllib
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from crossrec_core.config import DEFAULTS
from crossrec_core.settings import Settings
from crossrec_core.tables import ALL_TABLES, Table

TYPE_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
SETTINGS_INTRO = """# Settings

A settings file is TOML and names only what differs from `conf/default.toml`, which holds every default. Unknown,
missing and mistyped settings are errors, all listed at once. `--set NAME=VALUE` at a job overrides one;
`include = ["found.toml"]` at a file's head puts other files below its own lines. This page is
made from `crossrec_core/settings.py` by `docs/make_reference.py`.
"""
TABLES_INTRO = """# Tables

The lake's tables, as `crossrec_core/tables.py` declares them; this page is made from it by `docs/make_reference.py`.
Each is a Delta table at `<lake>/<table>`. A key holds within one run. A column is never null unless its row says so.
"""


def render_settings(defaults: dict[str, Any]) -> str:
    """The settings reference, one section per block of the TOML."""
    sections = [SETTINGS_INTRO]
    for name, hint, entry in _fields_of(Settings):
        if get_origin(hint) is dict:
            heading, kind, values = f"{name}.NAME", get_args(hint)[1], defaults["domain"]
        else:
            heading, kind, values = name, hint, defaults[name]
        sections += _sections(heading, kind, values, entry.metadata["doc"])
    return "\n".join(sections)


def render_tables(tables: dict[str, Table]) -> str:
    """The table reference: a list, then a section per table."""
    lines = [TABLES_INTRO, "| table | one row is | written by |", "|---|---|---|"]
    lines += [f"| [{name}](#{name}) | {table.grain} | {_join(table.written_by)} |" for name, table in tables.items()]
    for name, table in tables.items():
        lines += ["", f"## {name}", "", f"One row is {table.grain}.", ""]
        lines += [f"Key: {_code(table.key)}. " * bool(table.key) + f"Partitions: {_code(table.partition_by)}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for column in table.columns:
            null = "; may be null" if column.nullable and "null" not in column.meaning else ""
            lines.append(f"| {column.name} | `{column.type}` | {_cell(column.meaning)}{null} |")
    return "\n".join(lines) + "\n"


def write_references(folder: Path) -> None:
    """Write both pages."""
    defaults = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    (folder / "settings.md").write_text(render_settings(defaults), encoding="ascii")
    (folder / "tables.md").write_text(render_tables(ALL_TABLES), encoding="ascii")


def _sections(heading: str, kind: Any, values: dict[str, Any], doc: str) -> list[str]:
    """The section of a block, followed by those of the blocks inside it."""
    rows, inner = [], []
    for name, hint, entry in _fields_of(kind):
        if is_dataclass(hint):
            inner += _sections(f"{heading}.{name}", hint, values[name], entry.metadata["doc"])
        else:
            rows.append(f"| {name} | {_type_name(hint)} | `{_toml(values[name])}` | {_meaning(entry)} |")
    table = ["| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []
    return [f"## [{heading}]\n\n{doc}\n", *table, *inner]


def _fields_of(kind: Any) -> list[tuple[str, Any, Field[Any]]]:
    hints = get_type_hints(kind)
    return [(entry.name, hints[entry.name], entry) for entry in fields(kind)]


def _meaning(entry: Field[Any]) -> str:
    choices, low, high = (entry.metadata[key] for key in ("choices", "low", "high"))
    notes = [f"One of {_code(choices)}."] if choices else []
    if low is not None and high is not None:
        notes.append(f"From {low:g} to {high:g}.")
    elif low is not None:
        notes.append(f"At least {low:g}.")
    return _cell(" ".join([entry.metadata["doc"], *notes]))


def _type_name(hint: Any) -> str:
    if hint in TYPE_NAMES:
        return TYPE_NAMES[hint]
    inside = TYPE_NAMES[get_args(hint)[-1]]
    return f"list of {inside}s" if get_origin(hint) is list else f"names with a {inside} each"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def _join(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_references(ROOT / "docs")
