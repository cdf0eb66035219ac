"""What a benchmark found, as JSON that says on which machine, with which versions and by which settings."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import typer

from benchmarks.peers.registry import Package


def write_report(
    out: Path, *, packages: Iterable[str], settings: Mapping[str, Any], peers: Iterable[Package] = (), **found: Any
) -> None:
    """Write the machine, the versions of Python, ``packages`` and ``peers``, ``settings`` and what was ``found``."""
    report = {
        "machine": describe_machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
            "peers": {peer.name: peer.requirements for peer in peers},
        },
        "settings": settings,
        **found,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"written to {out}")


def describe_machine() -> dict[str, object]:
    """CPU model, cores and memory."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
