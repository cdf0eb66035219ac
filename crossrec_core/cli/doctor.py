"""This machine and a lake in, one line per check out: what CrossRec needs and whether it is there."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from crossrec_core import tables as t
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake, local_path
from crossrec_core.lake_reader import check_lake
from crossrec_core.ledger import published_run, read_steps

OK, NOTE, MISSING = "ok", "note", "missing"
JAVA_VERSIONS = (17, 21)
PACKAGES = ("crossrec", "pyspark", "torch", "petastorm", "pyarrow", "pandas", "numpy", "deltalake", "duckdb")
WANTED_MEMORY_GIB, WANTED_DISK_GIB = 4, 2
GIB = 2**30
COMMAND_TIMEOUT_S = 20


@dataclass(frozen=True)
class Check:
    """One thing looked at: ok, a note (works without), or missing (mend it)."""

    name: str
    state: str
    seen: str
    advice: str = ""


def examine(lake: Lake) -> list[Check]:
    """All checks, in a fixed order."""
    machine = [check_python(), check_java(), check_memory(), check_disk(lake), check_gpu()]
    return [*machine, *check_packages(), check_readable(lake)]


def check_python() -> Check:
    return Check("Python", OK, sys.version.split()[0])


def check_java() -> Check:
    """Java as Spark will find it: JAVA_HOME, else the PATH."""
    wanted = " or ".join(map(str, JAVA_VERSIONS))
    advice = f"install Java {wanted} (a headless JRE is enough) or set JAVA_HOME; only the nightly jobs need it"
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    text = _output_of([java, "-version"]) if java else None
    if text is None:
        return Check("Java", MISSING, f"none at {java}" if java else "none", advice)
    version = java_version(text)
    return Check("Java", OK if version in JAVA_VERSIONS else MISSING, f"{version} at {java}", advice)


def java_version(text: str) -> int:
    """The major version in what ``java -version`` prints; 0 where there is none. '1.8.0' is 8."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def check_memory() -> Check:
    memory = psutil.virtual_memory()
    seen = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB, {os.cpu_count()} cores"
    state = OK if memory.available >= WANTED_MEMORY_GIB * GIB else NOTE
    return Check("memory", state, seen, f"the jobs want {WANTED_MEMORY_GIB} GiB; lower spark.driver_memory if need be")


def check_disk(lake: Lake) -> Check:
    """Free space where the lake lies or would lie."""
    path = local_path(lake.path)
    if path is None:
        return Check("disk", NOTE, f"{lake.path} is not on this machine")
    place = next(folder for folder in (Path(path).absolute(), *Path(path).absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    state = OK if free >= WANTED_DISK_GIB * GIB else MISSING
    return Check("disk", state, f"{free / GIB:.1f} GiB free at {place}", f"free {WANTED_DISK_GIB} GiB or move the lake")


def check_gpu() -> Check:
    text = _output_of(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    if not text or not text.strip():
        return Check("GPU", NOTE, "none", "training runs on the CPU")
    return Check("GPU", OK, "; ".join(text.strip().splitlines()))


def check_packages() -> list[Check]:
    checks = []
    for package in PACKAGES:
        try:
            checks.append(Check(package, OK, metadata.version(package)))
        except metadata.PackageNotFoundError:
            checks.append(Check(package, MISSING, "not installed", "run `make setup`, or pip install crossrec"))
    return checks


def check_readable(lake: Lake) -> Check:
    """Whether the lake can be read by this release, and what it publishes."""
    try:
        check_lake(lake)
        run_id, num_runs = published_run(lake), len({step.run_id for step in read_steps(lake)})
    except CrossRecError as error:
        return Check("lake", MISSING, " ".join(str(error).split()))
    if run_id is None:
        return Check("lake", NOTE, f"{lake.path}: {num_runs} runs, none published", "run jobs/nightly.py to its end")
    return Check("lake", OK, f"{lake.path}: version {t.LAKE_VERSION}, run {run_id} published, {num_runs} runs kept")


def _output_of(command: list[str]) -> str | None:
    """What a command prints, or None where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr
