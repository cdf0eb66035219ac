"""A benchmark's report says where its figures come from."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.registry import IMPLICIT
from benchmarks.report import write_report


def test_a_report_holds_machine_versions_settings_and_what_was_found(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.json"
    write_report(out, packages=["numpy"], peers=[IMPLICIT], settings={"users": 3}, seconds={"ours": [0.5]})
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["versions"] == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "peers": {"implicit": list(IMPLICIT.requirements)},
    }
    assert set(report["machine"]) == {"cpu", "cores", "memory_gib"}
    assert (report["settings"], report["seconds"]) == ({"users": 3}, {"ours": [0.5]})
