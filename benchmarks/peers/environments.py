"""A package's pinned requirements in, a Python that has them out: an environment per package, made once (IO)."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crossrec_core.errors import InputError

READY = "ready"


def peer_python(name: str, requirements: Sequence[str], folder: Path) -> Path:
    """The interpreter of the environment ``folder/NAME-HASH``, made and filled unless it is there.

    The hash is that of the requirements, so that another pin is another environment; none is a dependency of the
    product.

    Raises:
        InputError: pip could not install; the message names its log.
    """
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    home = (folder / f"{name}-{digest}").resolve()
    python, ready, log = home / "bin" / "python", home / READY, home / "pip.log"
    if ready.exists():
        return python
    home.mkdir(parents=True, exist_ok=True)
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", *requirements],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            log.write_text(done.stdout + done.stderr, encoding="utf-8")
            raise InputError(
                f"{name}: could not make {home}: pip or venv ended with {done.returncode}; read {log}, then start "
                "again, or take the package's models out of the suite's peers"
            )
    ready.touch()
    return python
