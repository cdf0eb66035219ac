"""A raw log in, the lake after clean and prepare out: this project's side of benchmarks/prepare.py.

The first line of stdin is the small log, which warms the JVM; every other one the log that is timed.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installing

from benchmarks.prepare_problem import job_settings, make_tables
from jobs.steps import spark_session

folder, max_len = Path(sys.argv[1]), int(sys.argv[2])
cores, is_whole, driver_gib, *domains = (int(argument) for argument in sys.argv[3:])
settings = {
    log: job_settings(folder, log, domains=domains, max_len=max_len, cores=cores, driver_gib=driver_gib)
    for log in ("small", "log")
}
with spark_session(settings["log"]) as spark:
    for turn, _ in enumerate(sys.stdin):
        chosen = settings["log" if turn else "small"]
        shutil.rmtree(chosen.lake.path, ignore_errors=True)
        make_tables(chosen, spark, is_whole=bool(is_whole))
        print("solved", flush=True)
