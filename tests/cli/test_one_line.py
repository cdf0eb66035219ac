"""Errors in, one line and exit status 1 out."""

import errno

import pytest
import typer

from crossrec_core.cli.one_line import one_line, one_line_errors
from crossrec_core.errors import ConfigError, LakeError

JAVA = (
    "An error occurred while calling o42.parquet.\n: org.apache.spark.SparkException: Job aborted due to stage "
    "failure: Lost task 0.0: java.io.IOException: {reason}\n\tat org.apache.spark.Somewhere(Somewhere.scala:1)"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LakeError("lake: no\nlake here"), "lake: no lake here"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: no space left on the device"),
        (RuntimeError(JAVA.format(reason="No space left on device")), "no space left on the device; nothing is lost"),
        (RuntimeError(JAVA.format(reason="broken")), "unexpected RuntimeError: org.apache.spark.SparkException: Job"),
        (ValueError("two\nlines"), "unexpected ValueError: two lines; run again with --traceback to see where"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(error: Exception, told: str) -> None:
    assert told in one_line(error)
    assert "\n" not in one_line(error)


def test_wrong_settings_are_told_in_one_go(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, one_line_errors(traceback=False):
        raise ConfigError("two problems:\n  first\n  second")
    assert stopped.value.exit_code == 1
    assert capsys.readouterr().err == "error: two problems:\n  first\n  second\n"


def test_a_traceback_is_there_on_request() -> None:
    with pytest.raises(ValueError, match="deep"), one_line_errors(traceback=True):
        raise ValueError("deep")
