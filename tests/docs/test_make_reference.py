"""The committed reference pages are those the code makes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def make_reference() -> ModuleType:
    """docs/make_reference.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings.md", "tables.md"])
def test_the_committed_page_is_up_to_date(make_reference: ModuleType, tmp_path: Path, page: str) -> None:
    make_reference.write_references(tmp_path)
    fresh = (tmp_path / page).read_text(encoding="ascii")
    assert (DOCS / page).read_text(encoding="ascii") == fresh, "run: python docs/make_reference.py"


def test_every_setting_and_column_is_in_the_reference() -> None:
    from crossrec_core.tables import ALL_TABLES

    settings, tables = ((DOCS / page).read_text(encoding="ascii") for page in ("settings.md", "tables.md"))
    for heading in ("[lake]", "[domains.NAME.catalogue]", "[train.finetune]", "[evaluate]"):
        assert f"## {heading}\n" in settings
    for table in ALL_TABLES.values():
        section = tables.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        assert all(f"| {column.name} | `{column.type}` |" in section for column in table.columns)
