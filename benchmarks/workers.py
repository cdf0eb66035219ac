"""Contenders that run in processes of their own: started once, told to solve, and heard when they have."""

import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crossrec_core.errors import CrossRecError


@dataclass(frozen=True)
class Command:
    """A worker: the interpreter of its environment, its script, and what that is told besides the problem."""

    python: Path
    script: Path
    numbers: tuple[int, ...]

    def line(self, folder: Path, n: int) -> list[str]:
        """What is typed to start it."""
        return [str(self.python), str(self.script), str(folder), str(n), *(str(number) for number in self.numbers)]

    def start(self, folder: Path, n: int) -> "subprocess.Popen[str]":
        """A process that waits for lines."""
        return subprocess.Popen(self.line(folder, n), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def workers(commands: Sequence[Command], folder: Path, n: int) -> Iterator[Callable[[], None]]:
    """Processes that have the problem in memory; each call lets all of them solve their part of it once.

    Raises:
        CrossRecError: one of them ended.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(command.start(folder, n)) for command in commands]
        for process in started:
            stack.callback(hang_up, process)

        def solve() -> None:
            for process in started:
                with suppress(BrokenPipeError):  # it has ended, and is asked below what it has to say
                    print("solve", file=process.stdin, flush=True)
            for process, command in zip(started, commands, strict=True):
                assert process.stdout is not None
                if process.stdout.readline().strip() != "solved":
                    line = shlex.join(command.line(folder, n))
                    raise CrossRecError(f"{command.script.name}: ended early; run it by hand: {line}")

        yield solve
        for process in started:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()


def hang_up(process: "subprocess.Popen[str]") -> None:
    """Close what a worker reads; one that has ended left a line unread, which cannot be sent any more."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
