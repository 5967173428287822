"""What commands share: exit codes, the terminal's two streams, a progress bar, and signals."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Self, cast

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import put_off

if TYPE_CHECKING:
    from vla_tutorial.loop import Step

UNREAD = 1
UNHEALTHY = 1
BAD_INPUT = 2
SOME_ERRORS = 3
"""Exit codes: the reader of a pipe has ended, where rich gives 1 as well; the doctor found a fault;
the user can fix an input; episodes ended in errors."""

SIGNALLED = 128
"""A signal's number is added to this exit code, as shells have it: 130 after Ctrl-C."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill` or a batch system's time limit, and a terminal or connection that closed."""


class _Stderr:
    """Standard error as it is now. If it is lost, as after SIGHUP, what is written is too."""

    @property
    def rich_proxied_file(self) -> Self:
        """This one: while a progress bar is shown, rich would take the stream itself."""
        return self

    def _stream(self) -> IO[str]:
        stream = sys.stderr or io.StringIO()
        return getattr(stream, "rich_proxied_file", stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def write(self, text: str) -> int:
        """Write if that is possible."""
        with contextlib.suppress(OSError):
            return self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with contextlib.suppress(OSError):
            self._stream().flush()


err = Console(file=cast(IO[str], _Stderr()))
out = Console()


def tell(console: Console, text: str) -> None:
    """Print one line of rich markup; the terminal folds it, so that it can be copied whole."""
    with explain_lost_output():
        console.print(text, highlight=False, soft_wrap=True)


def show(content: str | RenderableType) -> None:
    """Print tables, or plain text as it is, so that it can be piped."""
    with explain_lost_output():
        if isinstance(content, str):
            typer.echo(content, nl=False)
        else:
            out.print(content, highlight=False)


@contextlib.contextmanager
def explain_lost_output() -> Iterator[None]:
    """Turn an error of writing to standard output into a TutorialError.

    Where the reader of a pipe has ended, as `head` does, the command ends without a word.
    """
    try:
        yield
    except OSError as e:
        discard_output()
        if e.errno == errno.EPIPE:
            raise typer.Exit(UNREAD) from e
        why = "it is closed" if e.errno == errno.EBADF else e.strerror
        what = f"Standard output cannot be written: {why}."
        raise TutorialError(f"{what} Send it to a terminal, or to a disk with free space.") from e


def discard_output() -> None:
    """Send what is still to be printed nowhere, since Python tries once more at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def repair_streams() -> None:
    """Give the process the three streams that it was started without, and print in any locale.

    Without this the next file that is opened would be number 1, and libraries that print would
    write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It takes the lowest free number. It is read only, so that writing is an error.
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def progress_bar() -> Progress:
    """Description, bar, count and time, on stderr."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err)


class Interrupt:
    """A signal of `STOPPING` inside the `with` statement: it raises KeyboardInterrupt, surely.

    Python swallows an exception that is raised in a destructor or in a library's
    `finally: continue`. So each control step calls `check`, which raises it again. While a file is
    finished (`files.uninterrupted`) it waits.
    """

    def __init__(self, graceful: bool = False) -> None:
        """If `graceful`, the first signal only sets `asked`, and the second one raises."""
        self._presses = 0
        self._harmless_presses = int(graceful)
        self._before: dict[signal.Signals, Any] = {}
        self.exit_code = SIGNALLED + signal.SIGINT

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._presses > 0

    def check(self, _progress: object = None) -> None:
        """Raise KeyboardInterrupt if signals have come often enough."""
        if self._presses > self._harmless_presses:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, _frame: object) -> None:
        self._presses += 1
        self.exit_code = SIGNALLED + number
        if not put_off(lambda: self._answer(number)):
            self._answer(number)

    def _answer(self, number: int) -> None:
        self.check()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        after = "no new episode starts; those in flight end and are recorded"
        again = "Press it again" if number == signal.SIGINT else "Send it again"
        tell(err, f"[yellow]{name}:[/] {after}. {again} to stop now.")

    def __enter__(self) -> Self:
        self._presses = 0
        # Python allows signal handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                # `nohup` has a command ignore SIGHUP, and it shall.
                if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


interrupt = Interrupt()
"""Every command runs inside this one."""


def advance(progress: Progress, bar: TaskID, what: str, step: Step, limit: int) -> None:
    """Move the bar to a step of an episode, whose last step fills it; stop if Ctrl-C got lost."""
    taken = step.step + 1
    total = taken if step.done else limit
    progress.update(bar, description=what, completed=taken, total=total)
    interrupt.check()
