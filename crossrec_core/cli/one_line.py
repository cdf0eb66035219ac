"""An error in, one line that says what to do next and exit status 1 out: what every door does with what goes wrong."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from crossrec_core.errors import ConfigError, CrossRecError

_DISK_FULL = "No space left on device"  # what the system, Java, Arrow and DuckDB all call it
_PY4J_PREFIX = "An error occurred while calling"
_LONGEST = 300


@contextmanager
def one_line_errors(traceback: bool) -> Iterator[None]:
    """Print an error as one line and exit 1; with ``traceback`` let it through."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if traceback:
            raise
        # wrong settings are told in one go, one problem a line
        print(f"error: {error if isinstance(error, ConfigError) else one_line(error)}", file=sys.stderr)
        raise typer.Exit(1) from None


def one_line(error: BaseException) -> str:
    """An error in one line that says what to do next."""
    text = " ".join(str(error).split())
    if isinstance(error, CrossRecError):
        return text
    if getattr(error, "errno", None) == errno.ENOSPC or _DISK_FULL in text:
        place = getattr(error, "filename", None) or "the lake's disk or spark.local.dir"
        return f"{place}: no space left on the device; nothing is lost: free some, then run again with --resume"
    if text.startswith(_PY4J_PREFIX):
        text = text.split(" : ", 1)[-1]
    return f"unexpected {type(error).__name__}: {text[:_LONGEST]}; run again with --traceback to see where"
